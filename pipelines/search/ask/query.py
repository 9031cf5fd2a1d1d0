"""A question -> the passages that answer it best. `headrace query`, judging and serving all ask here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

from core.errors import BadRequest
from core.schema.lock import BaseIdentity
from core.workspace import Workspace
from pipelines.bases import locked
from pipelines.search.ask.rerank import Reranker, collapsed, diversified
from pipelines.search.ask.rerank import load as load_reranker
from pipelines.search.engine.choice import choose
from pipelines.search.engine.copies import fitting, holders
from pipelines.search.engine.engine import DEPTH, KEYWORDS, Access, Ask, Filters, Hit, Missing, Mode, Release
from pipelines.search.engine.index_receipt import read_receipt
from pipelines.search.text.terms import Analyser, Sparse
from pipelines.search.vectors.embedder import Embedder, load_for

MODES: tuple[Mode, ...] = get_args(Mode)
_MOST = 1000
_SPARE = 16  # asked for beyond the limit, to see whether equal scores reach across it


@dataclass(frozen=True)
class Passage:
    """A part of a document.

    score: cosine of question and passage (dense), BM25 (sparse), the two fused (hybrid), or the reranker's; passages
    of one answer are comparable, no others. page: on which it starts, in documents that have pages. document, source:
    of one that the question's filters fit. copies: the other documents of the same text, which hold this passage too.
    """

    text: str
    score: float
    document: str
    source: str
    heading: str
    position: int
    page: int | None = None
    labels: Sequence[str] = ()
    copies: Sequence[str] = ()


@dataclass(frozen=True)
class Question:
    """What somebody asks. access: the labels that they have; None is the operator of this machine, who sees all.

    Raises BadRequest for a question that cannot be asked.
    """

    text: str
    access: Access
    limit: int
    filters: Filters = field(default_factory=dict)
    mode: Mode = "hybrid"
    rerank: bool = True

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise BadRequest("the question is empty.")
        if not 1 <= self.limit <= _MOST:
            raise BadRequest(f"the number of passages must be from 1 to {_MOST:,}, got {self.limit}.")
        unknown = sorted(set(self.filters) - set(KEYWORDS))
        if unknown:
            raise BadRequest(f"no filter is named {unknown[0]!r}. Allowed: {', '.join(KEYWORDS)}.")
        if self.mode not in MODES:
            raise BadRequest(f"no mode is named {self.mode!r}. Allowed: {', '.join(MODES)}.")


@dataclass(frozen=True)
class Asker:
    """A release, with what it takes to ask it: its own embedder, analyser and settings."""

    release: Release
    embedder: Embedder
    analyser: Analyser
    reranker: Reranker | None

    def question(
        self, text: str, access: Access, limit: int | None, filters: Filters | None, mode: str | None = None
    ) -> Question:
        """A question to this release; limit, mode: by default what it was made with. Raises BadRequest."""
        search = self.release.facts["search"]
        limit = int(search["limit"]) if limit is None else limit
        chosen: Any = mode or search["mode"]
        return Question(text, access, limit, filters or {}, chosen)

    def ask(self, question: Question, vector: Sequence[float] | None = None) -> list[Passage]:
        """The best passages, best first; equal scores by document and position. vector: of the question, if known."""
        search = self.release.facts["search"]
        hits = [hit for hit in self._hits(question, vector) if fitting(hit.payload, question.filters)]
        if self.reranker is not None and question.rerank:
            hits = self.reranker.order(question.text, hits)
        if search["collapse"] is not None:
            hits = collapsed(hits, search["collapse"])
        if search["diversity"]:
            hits = diversified(hits, search["diversity"], question.limit)
        return [_passage(hit, question.filters) for hit in hits[: question.limit]]

    def _hits(self, question: Question, vector: Sequence[float] | None) -> list[Hit]:
        search = self.release.facts["search"]
        later = bool((self.reranker and question.rerank) or search["collapse"] is not None or search["diversity"])
        wanted = max(DEPTH, question.limit) if later else question.limit
        if vector is None and question.mode != "sparse":
            vector = self.embedder.questions([question.text])[0].tolist()
        terms = self.analyser.asked(question.text)
        ask = Ask(
            mode=question.mode,
            limit=wanted + _SPARE,
            access=question.access,
            vector=vector if vector is not None else (),
            terms=Sparse(terms.ids, [float(count) for count in terms.values]),
            filters=question.filters,
            fusion=search["fusion"],
            depth=max(DEPTH, question.limit),
            with_vectors=later,
        )
        return _ordered(self.release, ask, wanted)


def query(
    workspace: Workspace,
    index: str,
    question: str,
    limit: int | None = None,
    filters: Filters | None = None,
    *,
    access: Access,
    mode: str | None = None,
) -> list[Passage]:
    """The passages of the live release that answer the question best.

    limit, mode: by default the release's `search.limit` and `search.mode`. filters: payload keys and the value that
    each must have; `section` is the first part of a document's path. access: see Question. Raises BadRequest (no such
    index, not published, an unknown filter, an empty question) or Outage (the server that QDRANT_URL names does not
    answer).
    """
    with asking(workspace, index) as asker:
        return asker.ask(asker.question(question, access, limit, filters, mode))


@contextmanager
def asking(workspace: Workspace, index: str) -> Iterator[Asker]:
    """The live release of an index, the same while the block runs."""
    job = workspace.job("index", index)
    read_receipt(job)
    engine = choose(workspace)
    with ExitStack() as stack:
        try:
            release = stack.enter_context(engine.reading(index))
        except Missing:
            from pipelines.search.engine.releases import ensure

            ensure(job, engine)
            release = stack.enter_context(engine.reading(index))
        yield asker_of(release, workspace)


def asker_of(release: Release, workspace: Workspace) -> Asker:
    """Raises BadRequest when the weights that made the release's vectors are not here any more."""
    embedder, reranker = (json.dumps(release.facts[name], sort_keys=True) for name in ("embedder", "reranker"))
    return Asker(
        release,
        _embedder(workspace, embedder),
        _analyser(release.facts["search"]["language"], int(release.facts["terms"]["rules"])),
        _reranker(workspace, reranker) if release.facts["reranker"] else None,
    )


def int8_of(method: Mapping[str, Any], workspace: Workspace) -> Path:
    """Where a release's int8 model is kept, as long as the release may be asked; there is none for other precisions."""
    return workspace.var / "embedders" / str(method.get("quantised") or "none")


def _ordered(release: Release, ask: Ask, limit: int) -> list[Hit]:
    """At least the `limit` best and all that score as the last of them: an engine cuts equal scores in any order."""
    while True:
        hits = release.search(ask)
        if len(hits) < ask.limit or hits[-1].score < hits[limit - 1].score:
            break
        ask = replace(ask, limit=ask.limit * 2)
    hits.sort(key=lambda hit: (-hit.score, hit.payload["document"], hit.payload["position"]))
    return hits[:limit]


@lru_cache(maxsize=4)
def _embedder(workspace: Workspace, facts: str) -> Embedder:
    """Kept, for a server that is asked many questions: hashing the weights again would take longer than the answer.

    facts: of the release, as JSON; they name the weights by hash, so that it is never another embedder.
    """
    said = json.loads(facts)
    base = locked(said["reference"], BaseIdentity(**said["identity"]), workspace.root)
    return load_for(said["method"], base.folder, int8_of(said["method"], workspace))


@lru_cache(maxsize=2)
def _reranker(workspace: Workspace, facts: str) -> Reranker:
    said = json.loads(facts)
    return load_reranker(locked(said["reference"], BaseIdentity(**said["identity"]), workspace.root).folder)


_analyser = lru_cache(maxsize=4)(Analyser)  # which remembers the stems of words


def _passage(hit: Hit, filters: Filters) -> Passage:
    said, own = hit.payload, fitting(hit.payload, filters)
    assert own is not None  # _hits keeps no other
    copies = tuple(each.document for each in holders(said) if each != own)
    return Passage(
        text=said["text"],
        score=hit.score,
        document=own.document,
        source=own.source,
        heading=said["heading"],
        position=int(said["position"]),
        page=said.get("page"),
        labels=tuple(said.get("labels") or ()),
        copies=copies,
    )
