"""A question -> the passages nearest to it. `headrace query` and serving both ask here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipelines.bases import locked
from pipelines.errors import BadRequest
from pipelines.schema.lock import BaseIdentity
from pipelines.search.embedder import Embedder, load
from pipelines.search.engine import KEYWORDS, Engine, Hit, choose
from pipelines.search.published import ensure, read_receipt
from pipelines.workspace import Workspace

_MOST = 1000
_SPARE = 16  # asked for beyond the limit, to see whether equal scores reach across it


@dataclass(frozen=True)
class Passage:
    """A part of a document. score: cosine of question and passage, -1 to 1."""

    text: str
    score: float
    document: str
    source: str
    heading: str
    position: int


def query(
    workspace: Workspace, index: str, question: str, limit: int | None = None, filters: Mapping[str, str] | None = None
) -> list[Passage]:
    """The passages nearest to the question, best first; equal scores by document and position.

    limit: by default the index's `search.limit`. filters: payload keys and the value that each must have; `section`
    is the first part of a document's path. Raises BadRequest (no such index, not published, an unknown filter, an empty
    question) or Outage (the server that QDRANT_URL names does not answer).
    """
    job = workspace.job("index", index)
    said = read_receipt(job)
    limit = int(job.settings["search"]["limit"]) if limit is None else limit
    _check(question, limit, filters or {})
    engine = choose(workspace)
    ensure(job, engine)
    base = locked(said["embedder"]["reference"], BaseIdentity(**said["embedder"]["identity"]), workspace.root)
    vector = _embedder(base.folder, base.sha256).encode([question])[0]
    hits = _nearest(engine, index, vector.tolist(), limit, filters or {})
    return sorted((_passage(hit) for hit in hits), key=lambda p: (-p.score, p.document, p.position))[:limit]


def _nearest(engine: Engine, index: str, vector: list[float], limit: int, filters: Mapping[str, str]) -> list[Hit]:
    """At least the `limit` best and all that score as the last of them: an engine cuts equal scores in any order."""
    asked = limit + _SPARE
    while True:
        hits = engine.search(index, vector, asked, filters)
        if len(hits) < asked or hits[-1].score < hits[limit - 1].score:
            return hits
        asked *= 2


@lru_cache(maxsize=4)
def _embedder(folder: Path, sha256: str) -> Embedder:
    """Kept, for a server that is asked many questions; by the weights' hash, so that it is never an old one."""
    return load(folder)


def _check(question: str, limit: int, filters: Mapping[str, str]) -> None:
    if not question.strip():
        raise BadRequest("the question is empty.")
    if not 1 <= limit <= _MOST:
        raise BadRequest(f"the number of passages must be from 1 to {_MOST:,}, got {limit}.")
    unknown = sorted(set(filters) - set(KEYWORDS))
    if unknown:
        raise BadRequest(f"no filter is named {unknown[0]!r}. Allowed: {', '.join(KEYWORDS)}.")


def _passage(hit: Hit) -> Passage:
    said: Mapping[str, Any] = hit.payload
    return Passage(
        text=said["text"],
        score=hit.score,
        document=said["document"],
        source=said["source"],
        heading=said["heading"],
        position=int(said["position"]),
    )
