"""Where passages are searched: Qdrant, embedded in this process or behind QDRANT_URL. One interface, two engines.

Versions of an index stand beside each other; one is live, and the one before it is kept to go back to. A version is
built whole, counted, and only then made live, so a reader sees the old or the new and never half. It says itself what
it was made with, so a question is always embedded with the embedder of the passages that it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from core.errors import HeadraceError
from pipelines.search.engine.release_files import Pointers
from pipelines.search.text.terms import Sparse

URL, KEY = "QDRANT_URL", "QDRANT_API_KEY"
VECTOR, TERMS = "dense", "bm25"
KEYWORDS = ("document", "section", "heading", "source")  # payload keys that a filter may name
LABELS = "labels"  # the payload key that says who may see a passage; empty: everybody
# Of the other documents that have the same text and labels; a passage of a document without copies has none of them.
COPIES = {"document": "copies", "section": "copies_sections", "source": "copies_sources"}
INDEXED = (*KEYWORDS, LABELS, *COPIES.values())
DEPTH = 100  # of a hybrid question that asks for fewer (docs/retrieval.md)
# Up to here a question looks at every vector: exact, and 1 ms at 10,000. Beyond, Qdrant's HNSW graph.
EXACT_UP_TO = 20_000
GRAPH_EF = 128  # candidates that a graph search keeps: recall@10 .999 at 100,000 (docs/retrieval.md)

Mode = Literal["dense", "sparse", "hybrid"]
Fusion = Literal["dbsf", "rrf"]
Filters = Mapping[str, str]
Access = frozenset[str] | None  # the labels that a caller has; None: the operator of this machine, who sees everything
RRF_K = 60  # Cormack et al. 2009


@dataclass(frozen=True)
class Point:
    id: str  # a UUID, of all that the point says: a changed passage is another point
    vector: Sequence[float]
    terms: Sparse
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Ask:
    """What an engine is asked. vector: for dense and hybrid; terms: for sparse and hybrid.

    depth: passages that each half of a hybrid question hands to the fusion.
    """

    mode: Mode
    limit: int
    access: Access
    vector: Sequence[float] = ()
    terms: Sparse = field(default_factory=Sparse)
    filters: Filters = field(default_factory=dict)
    fusion: Fusion = "dbsf"
    depth: int = DEPTH
    with_vectors: bool = False


@dataclass(frozen=True)
class Hit:
    """vector: of the passage, where it was asked for."""

    score: float
    payload: Mapping[str, Any]
    vector: Sequence[float] = ()


@dataclass(frozen=True)
class Content:
    """What a version is to hold. facts: JSON, about how it was made, `dim` among it; kept with it.

    ids: of all points. points: those whose id is asked for, in batches.
    """

    facts: Mapping[str, Any]
    ids: Sequence[str]
    points: Callable[[set[str]], Iterator[list[Point]]]


class Release(Protocol):
    """A version that is open for questions; it stays whole until it is let go."""

    @property
    def version(self) -> str: ...

    @property
    def facts(self) -> Mapping[str, Any]: ...

    def search(self, ask: Ask) -> list[Hit]:
        """The best points that the caller may see, best first."""

    def points(self, filters: Filters | None = None) -> Iterator[Point]:
        """Every point that the filters keep, in no stated order."""

    def changed(self, gone: set[str], new: Sequence[Point], scratch: Path) -> AbstractContextManager[Release]:
        """A copy in the embedded engine, without the points `gone` and with `new`. scratch: a folder to make it in."""


class Engine(Protocol):
    @property
    def place(self) -> str:
        """What a receipt says about where this is; no secrets."""

    def pointers(self, index: str) -> Pointers:
        """Which versions are live, kept, withdrawn."""

    def point(self, index: str, pointers: Pointers) -> None:
        """Move the pointers, in one step."""

    def count(self, index: str, version: str) -> int | None:
        """Its points; None when it is missing or damaged."""

    def build(self, index: str, version: str, content: Content) -> int:
        """Bring a version to hold exactly this; returns the number of its points. It is not live yet."""

    def prune(self, index: str) -> list[str]:
        """Remove the versions that no pointer keeps and that nobody reads; returns them."""

    def reading(self, index: str, version: str | None = None) -> AbstractContextManager[Release]:
        """A version, by default the live one. Raises Missing when there is no such whole version."""


class Missing(HeadraceError):
    """The engine has no whole live version of an index."""


def conditions(library: Any, filters: Filters) -> list[Any]:
    """Filters, as a library of Qdrant says them: the server's and the embedded engine's have the same names.

    A passage that a copy of its document has under another name is found by that name too.
    """
    return [_either(library, [key, *filter(None, [COPIES.get(key)])], value) for key, value in filters.items()]


def _either(library: Any, keys: Sequence[str], value: str) -> Any:
    found = [library.FieldCondition(key=key, match=library.MatchValue(value=value)) for key in keys]
    return found[0] if len(found) == 1 else library.Filter(should=found)


def seen(library: Any, access: Access, unlabelled: Any) -> list[Any]:
    """What keeps the passages that a caller may see. unlabelled: the condition that a passage has no labels."""
    if access is None:
        return []
    labelled = library.FieldCondition(key=LABELS, match=library.MatchAny(any=sorted(access)))
    return [library.Filter(should=[unlabelled, *([labelled] if access else [])])]
