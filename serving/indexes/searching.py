"""GET /indexes and POST /indexes/NAME/search: a question -> passages, all of one release, which the answer names."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from core.tables.access import may_see
from pipelines.search.ask.query import Asker, Passage, Question
from pipelines.search.engine.engine import Filters, Mode
from pipelines.search.engine.releases import unread_of
from pipelines.search.text.terms import Analyser
from pipelines.search.text.words import pieces
from serving.http.api_keys import Caller
from serving.http.bodies import Body, Route, whole
from serving.http.door import may
from serving.http.problems import problems, refusals
from serving.http.threads import Workers
from serving.indexes.indexes import Indexes
from serving.indexes.request_metrics import Metrics

MAX_QUESTION = 2000  # characters: an embedder reads about as many, and a longer text is a document
MAX_PASSAGES = 100
_UNREAD = 100  # documents that are named
_FILTER = 1000  # characters of a filter's value


def _integral(number: object) -> object:
    """5 of 5.0, which is the same number in JSON."""
    return int(number) if isinstance(number, float) and number.is_integer() else number


Limit = Annotated[int, Field(ge=1, le=MAX_PASSAGES, strict=True), BeforeValidator(_integral)]
Value = Annotated[str, Field(max_length=_FILTER), AfterValidator(whole)]


class Filter(Body):
    """Passages that have all of these."""

    document: Value | None = None
    section: Value | None = None
    heading: Value | None = None
    source: Value | None = None


class Asked(Body):
    """limit, mode: by default what the release's settings say."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"question": "Who rescued the village?", "limit": 3, "mode": "hybrid"}]},
    )

    question: Annotated[str, Field(min_length=1, max_length=MAX_QUESTION, pattern=r"\S"), AfterValidator(whole)]
    limit: Limit | None = None
    filters: Filter = Filter()

    def of(self, caller: Caller, asker: Asker, mode: Mode | None = None) -> Question:
        """The question as the search takes it, with what this caller may see."""
        filters: Filters = self.filters.model_dump(exclude_none=True)
        return asker.question(self.question, caller.access, self.limit, filters, mode)


class Search(Asked):
    mode: Mode | None = None


class Found(BaseModel):
    """A passage. page: on which it starts, in documents with pages. matches: start and end of words of the question.

    copies: the other documents that have the same text.
    """

    text: str
    score: float
    document: str
    source: str
    heading: str
    page: int | None
    position: int
    copies: list[str]
    matches: list[tuple[int, int]]


class Results(BaseModel):
    """passages: best first. Their scores are comparable with each other and with no others."""

    index: str
    release: str
    mode: Mode
    passages: list[Found]


class Unread(BaseModel):
    document: str
    reason: str


class Served(BaseModel):
    """unread: documents that the last `headrace index` could not read, of those that the caller may know of; where
    there are some."""

    name: str
    release: str
    unread: list[Unread] = []


class Listed(BaseModel):
    indexes: list[Served]


def found(passage: Passage, question: str, asker: Asker) -> Found:
    return Found(**vars(passage), matches=marks(question, passage.text, asker.analyser))


def marks(question: str, text: str, analyser: Analyser) -> list[tuple[int, int]]:
    """Start and end of each word (of scripts whose words are pairs: each pair of characters) that the question has too.

    Words are equal where BM25 counts them as one: by their stems.
    """
    asked = set(analyser.asked(question).ids)
    found: list[tuple[int, int]] = []
    for start, end in pieces(text):
        if asked.isdisjoint(analyser.asked(text[start:end]).ids):  # a pair alone, not the characters in it
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def unread(indexes: Indexes, name: str, caller: Caller) -> list[Unread]:
    """The documents of an index that could not be read, those aside that the caller may not see."""
    return [
        Unread(document=each["document"], reason=each["reason"])
        for each in unread_of(indexes.workspace.job("index", name))
        if caller.access is None or (each["labels"] is not None and may_see(caller.access, each["labels"]))
    ][:_UNREAD]


def searching(indexes: Indexes, workers: Workers, metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["indexes"], route_class=Route)

    @router.get("/indexes", responses=problems(503, 504), response_model_exclude_defaults=True)
    async def listed(caller: Annotated[Caller, Depends(may("search"))]) -> Listed:
        """The indexes that can be asked, and the release of each that is live."""

        def work() -> list[Served]:
            live = sorted(indexes.standing().live.items())
            return [Served(name=name, release=release, unread=unread(indexes, name, caller)) for name, release in live]

        with refusals():
            return Listed(indexes=await workers.run(work))

    @router.post("/indexes/{index}/search", responses=problems(404, 413, 503, 504))
    async def search(index: str, asked: Search, caller: Annotated[Caller, Depends(may("search"))]) -> Results:
        """The passages that answer a question best, among those that the caller may see."""

        def work() -> Results:
            with indexes.asking(index) as asker:
                question = asked.of(caller, asker, asked.mode)
                passages = [found(each, question.text, asker) for each in asker.ask(question)]
                return Results(index=index, release=asker.release.version, mode=question.mode, passages=passages)

        with refusals():
            results = await workers.run(work)
        metrics.searches.labels(index, results.mode).inc()
        return results

    return router
