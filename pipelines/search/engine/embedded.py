"""qdrant-edge, the segment engine of Qdrant's server, in this process on folders of versions.

var/qdrant/INDEX/VERSION/ is never changed once it has its name, so it needs no write-ahead log, and without one any
number of processes may read it. The next version is a copy of the live one, which shares its bytes where nothing
changed, with what is new put in and what is gone taken out.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import qdrant_edge as qdrant

from core.atomic_files import read_json, write_json
from pipelines.search.engine.engine import (
    EXACT_UP_TO,
    GRAPH_EF,
    INDEXED,
    LABELS,
    RRF_K,
    TERMS,
    VECTOR,
    Ask,
    Content,
    Filters,
    Hit,
    Missing,
    Point,
    conditions,
    seen,
)
from pipelines.search.engine.release_files import Pointers, Versions
from pipelines.search.text.terms import Sparse

_FACTS = "release.json"
_COUNTED = "counted"
_SCROLL = 4096
_KEPT_SHARE = 0.5  # of the live version's points: with fewer, writing all anew is as fast as copying


@dataclass(frozen=True)
class Edge:
    versions: Versions
    place: str = "embedded"

    def pointers(self, index: str) -> Pointers:
        return self.versions.pointers(index)

    def point(self, index: str, pointers: Pointers) -> None:
        self.versions.point(index, pointers)
        _let_go(self.versions.root / index, pointers.live)

    def count(self, index: str, version: str) -> int | None:
        with self.versions.reading(index, version) as folder:
            return _counted(folder) if folder else None

    def build(self, index: str, version: str, content: Content) -> int:
        with self.versions.building(index):
            done = self.count(index, version)
            if done is not None:
                return done
            with self.versions.reading(index) as live, self.versions.new(index, version) as folder:
                return fill(folder, content, live)

    def prune(self, index: str) -> list[str]:
        with self.versions.building(index):
            return self.versions.prune(index)

    @contextmanager
    def reading(self, index: str, version: str | None = None) -> Iterator[Opened]:
        where = self.versions.root / index
        with _lock:
            opened = _open.get(where)
            name = version or self.versions.live(index)
            if opened is None or opened.version != name:
                opened = _opened(self.versions, index, version)
                if version is None:
                    _let_go(where, opened.version)
                    _open[where] = opened
            opened.users += 1
        try:
            yield opened
        finally:
            with _lock:
                opened.users -= 1
                if not opened.users and _open.get(where) is not opened:
                    opened.close()


# --- versions that are open in this process ---------------------------------------------------------------------------


@dataclass(eq=False)
class Opened:
    """An open version, and the lock that keeps it from being removed. Any thread may ask it."""

    folder: Path
    facts: Mapping[str, Any]
    shard: Any
    held: ExitStack
    count: int
    users: int = 0

    @property
    def version(self) -> str:
        return self.folder.name

    def search(self, ask: Ask) -> list[Hit]:
        found = self.shard.query(_request(ask, exact=self.count <= EXACT_UP_TO))
        return [Hit(float(each.score), dict(each.payload), _dense(each.vector)) for each in found]

    def points(self, filters: Filters | None = None) -> Iterator[Point]:
        where = qdrant.Filter(must=conditions(qdrant, filters or {}))
        for each in _scrolled(self.shard, filter=where, with_payload=True, with_vector=True):
            terms = each.vector[TERMS]
            sparse = Sparse(list(terms.indices), list(terms.values))
            yield Point(str(each.id), _dense(each.vector), sparse, dict(each.payload))

    @contextmanager
    def changed(self, gone: set[str], new: Sequence[Point], scratch: Path) -> Iterator[Opened]:
        kept = [each for each in _ids_of(self.shard) if each not in gone]
        content = Content(self.facts, [*kept, *(each.id for each in new)], lambda ids: iter([list(new)]))
        with scratch_of(content, scratch, self.folder) as opened:
            yield opened

    def close(self) -> None:
        self.shard.close()
        self.held.close()


_open: dict[Path, Opened] = {}  # the live version of each index that this process has asked; kept for the next question
_lock = threading.Lock()


def _let_go(where: Path, live: str | None) -> None:
    """Close what was live, when it is not any more and nobody asks it; whoever does closes it afterwards."""
    opened = _open.get(where)
    if opened is not None and opened.version != live:
        del _open[where]
        if not opened.users:
            opened.close()


def _opened(versions: Versions, index: str, version: str | None) -> Opened:
    with ExitStack() as held:
        folder = held.enter_context(versions.reading(index, version))
        shard = _load(folder) if folder else None
        if folder is None or shard is None:
            raise Missing(f"{versions.root / index}: no whole version {version or ''}of {index}.")
        return Opened(folder, read_json(folder / _FACTS), shard, held.pop_all(), _points(shard))


@contextmanager
def scratch_of(content: Content, folder: Path, live: Path | None = None) -> Iterator[Opened]:
    """A version for this block only. live: a version to start from. folder: emptied before, removed after."""
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir(parents=True)
    try:
        count = fill(folder, content, live)
        opened = Opened(folder, content.facts, _load(folder), ExitStack(), count)
        yield opened
        opened.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- writing ----------------------------------------------------------------------------------------------------------


def fill(folder: Path, content: Content, live: Path | None) -> int:
    """Make an empty folder hold exactly this content; returns its points. live: a version to start from."""
    wanted = set(content.ids)
    shard, there = _begun(folder, content, wanted, live)
    gone: list[Any] = sorted(there - wanted)
    if gone:
        shard.update(qdrant.UpdateOperation.delete_points(gone))
    for batch in content.points(wanted - there):
        if batch:
            shard.update(qdrant.UpdateOperation.upsert_points([_point(each) for each in batch]))
    if len(wanted) > EXACT_UP_TO:
        shard.optimize()
    shard.close()  # flushes
    count = _count(folder) or 0  # as a reader would: the engine then works off its journal, and writes no more
    write_json(folder / _FACTS, {**content.facts, _COUNTED: {"points": count, "engine": _engine()}})
    return count


def _begun(folder: Path, content: Content, wanted: set[str], live: Path | None) -> tuple[Any, set[str]]:
    """A shard to go on from, and the ids in it: a copy of the live version where most of it stays, or empty.

    Not of one that something was forgotten from since: in its files stands what was deleted.
    """
    before = read_json(live / _FACTS) if live is not None else {}
    same = before.get("forgotten", 0) == content.facts.get("forgotten", 0)
    if live is not None and same and before.get("dim") == content.facts["dim"]:
        Versions.copy(live, folder)
        shard = _load(folder)
        there = set(_ids_of(shard)) if shard is not None else set()
        if len(there & wanted) > _KEPT_SHARE * max(len(there), len(wanted)):
            _index_payloads(shard)  # of a version made before some of the keys were
            return shard, there
        if shard is not None:
            shard.close()
        shutil.rmtree(folder)
        folder.mkdir()
    return _created(folder, content.facts["dim"]), set()


def _point(point: Point) -> Any:
    sparse = qdrant.SparseVector(list(point.terms.ids), list(point.terms.values))
    return qdrant.Point(point.id, {VECTOR: list(point.vector), TERMS: sparse}, dict(point.payload))


def _created(folder: Path, dim: int) -> Any:
    # Cold: mapped, and read when they are asked for; else each load brings 32 MB into memory, of a dozen vectors too
    dense = qdrant.EdgeVectorParams(size=dim, distance=qdrant.Distance.Dot, memory=qdrant.Memory.Cold)
    config = qdrant.EdgeConfig(
        vectors={VECTOR: dense},
        sparse_vectors={TERMS: qdrant.EdgeSparseVectorParams(modifier=qdrant.Modifier.Idf)},
        wal_enabled=False,
    )
    shard = qdrant.EdgeShard.create(str(folder), config)
    _index_payloads(shard)
    return shard


def _index_payloads(shard: Any) -> None:
    for key in INDEXED:
        shard.update(qdrant.UpdateOperation.create_field_index(key, qdrant.PayloadSchemaType.Keyword))


def _ids_of(shard: Any) -> Iterator[str]:
    return (str(each.id) for each in _scrolled(shard, with_payload=False, with_vector=False))


def _scrolled(shard: Any, **what: Any) -> Iterator[Any]:
    offset: Any = None
    while True:
        records, offset = shard.scroll(qdrant.ScrollRequest(offset=offset, limit=_SCROLL, **what))
        yield from records
        if offset is None:
            return


def _counted(folder: Path) -> int | None:
    """The points of a version whose files are as they were written: as counted then, if by this engine."""
    said = read_json(folder / _FACTS).get(_COUNTED, {})
    return int(said["points"]) if said.get("engine") == _engine() else _count(folder)


def _engine() -> str:
    return metadata.version("qdrant-edge-py")


def _count(folder: Path) -> int | None:
    shard = _load(folder)
    if shard is None:
        return None
    count = _points(shard)
    shard.close()
    return count


def _points(shard: Any) -> int:
    return int(shard.count(qdrant.CountRequest(exact=True)))


def _load(folder: Path) -> Any:
    """The shard, or None when the engine finds it damaged: it then raises a bare Exception, its only kind."""
    try:
        return qdrant.EdgeShard.load(str(folder))
    except Exception as error:  # noqa: BLE001
        print(f"{folder}: cannot be opened ({error})", file=sys.stderr, flush=True)
        return None


# --- asking -----------------------------------------------------------------------------------------------------------


def _request(ask: Ask, *, exact: bool) -> Any:
    visible = seen(qdrant, ask.access, qdrant.IsEmptyCondition(LABELS))
    where = qdrant.Filter(must=[*conditions(qdrant, ask.filters), *visible])
    # how rare a term is, is counted over what the caller may see: scores say nothing about the rest
    corpus = qdrant.IdfParams(corpus=qdrant.Filter(must=visible)) if visible else None
    dense = qdrant.Query.Nearest(list(ask.vector), using=VECTOR)
    sparse = qdrant.Query.Nearest(qdrant.SparseVector(list(ask.terms.ids), list(ask.terms.values)), using=TERMS)
    nearest = qdrant.SearchParams(exact=exact, hnsw_ef=None if exact else GRAPH_EF)
    counted = qdrant.SearchParams(idf=corpus)
    vectors = [VECTOR] if ask.with_vectors else None
    shown: dict[str, Any] = {"limit": ask.limit, "with_payload": True, "with_vector": vectors}
    if ask.mode != "hybrid":
        query, params = (dense, nearest) if ask.mode == "dense" else (sparse, counted)
        return qdrant.QueryRequest(query=query, filter=where, params=params, **shown)
    halves = [
        qdrant.Prefetch(limit=ask.depth, query=query, filter=where, params=params)
        for query, params in ((dense, nearest), (sparse, counted))
    ]
    fusion: Any = qdrant.Fusion.Dbsf() if ask.fusion == "dbsf" else qdrant.Fusion.Rrf(k=RRF_K)
    return qdrant.QueryRequest(query=fusion, prefetches=halves, **shown)


def _dense(vectors: Any) -> list[float]:
    return list(vectors[VECTOR]) if vectors else []
