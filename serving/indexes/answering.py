"""POST /indexes/NAME/answer: a question -> an answer in sentences that cite passages, whole or as it is written."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Generator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from pipelines.search.ask.answer import Answer, replies
from pipelines.search.ask.query import Asker
from serving.http.api_keys import Caller
from serving.http.bodies import Route
from serving.http.door import may
from serving.http.problems import problems, refusals
from serving.http.threads import Workers
from serving.indexes.indexes import Indexes
from serving.indexes.request_metrics import Metrics
from serving.indexes.searching import Asked, Found, found

EVENTS = "text/event-stream"
_UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # a proxy in between hands on each sentence


class Cited(BaseModel):
    """A quote: passages[number - 1].text[start:end]. page: on which it begins, in documents with pages."""

    number: int
    page: int | None
    start: int
    end: int
    quote: str


class Said(BaseModel):
    text: str
    citations: list[Cited]


class Answered(BaseModel):
    """text: what the sentences say, each with its citations as [n], n counting the passages from 1.

    answered: whether the documents hold an answer; reason: why not.
    """

    index: str
    release: str
    answered: bool
    text: str
    sentences: list[Said]
    passages: list[Found]
    reason: str | None


Piece = str | Answered  # sentences as they are written, then what they add up to


def answering(indexes: Indexes, workers: Workers, metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["indexes"], route_class=Route)

    @router.post(
        "/indexes/{index}/answer", response_model=Answered,
        responses={
            **problems(404, 413, 503, 504),
            200: {"content": {EVENTS: {"schema": {"type": "string"}, "example": _EXAMPLE}}},
        },
    )  # fmt: skip
    async def answer(
        index: str, asked: Asked, request: Request, caller: Annotated[Caller, Depends(may("answer"))]
    ) -> Any:
        """What the documents say, or that they do not. As `text/event-stream` where Accept names it: an event
        `sentence` ({"text"}) for each, then `answer` (as in JSON), or `problem` ({"detail"})."""

        def work() -> Generator[str | Answered]:
            with indexes.asking(index) as asker:
                question = asked.of(caller, asker)
                for piece in replies(asker, question, indexes.job(index)):
                    if isinstance(piece, str):
                        yield piece
                    else:
                        metrics.answers.labels(index, "answered" if piece.answered else "refused").inc()
                        yield _answered(index, asker, piece)

        written = workers.each(work)
        with refusals():
            first = await anext(written)  # what is refused is refused with its status, before anything is sent
        if EVENTS in request.headers.get("accept", ""):
            return StreamingResponse(_events(first, written), media_type=EVENTS, headers=_UNBUFFERED)
        with refusals():
            return [piece async for piece in written][-1]

    return router


def _answered(index: str, asker: Asker, answer: Answer) -> Answered:
    return Answered(
        index=index,
        release=asker.release.version,
        answered=answer.answered,
        text=answer.text,
        sentences=[Said.model_validate(each, from_attributes=True) for each in answer.sentences],
        passages=[found(each, answer.question, asker) for each in answer.passages],
        reason=answer.reason,
    )


async def _events(first: Piece, rest: AsyncIterator[Piece]) -> AsyncIterator[str]:
    """As server-sent events; the first piece is a sentence. What fails in the midst is the last of them, in words that
    are anybody's."""
    yield _event("sentence", {"text": first})
    try:
        with refusals():
            async for piece in rest:
                if isinstance(piece, Answered):
                    yield _event("answer", piece.model_dump())
                else:
                    yield _event("sentence", {"text": piece})
    except HTTPException as refused:
        yield _event("problem", {"detail": refused.detail})


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


_EXAMPLE = _event("sentence", {"text": "The river rose in the night [1]."})
