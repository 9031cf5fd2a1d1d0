"""A Qdrant server through qdrant-client: collection INDEX-VERSION, and alias INDEX on the live one.

Aliases INDEX@previous and INDEX@withdrawn are the other two pointers; all of them move in one request.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from core.errors import BadRequest, Outage
from pipelines.search.engine.embedded import scratch_of
from pipelines.search.engine.engine import (
    EXACT_UP_TO,
    GRAPH_EF,
    INDEXED,
    LABELS,
    RRF_K,
    TERMS,
    URL,
    VECTOR,
    Ask,
    Content,
    Filters,
    Hit,
    Missing,
    Point,
    Release,
    conditions,
    seen,
)
from pipelines.search.engine.release_files import VERSION, Pointers
from pipelines.search.text.terms import Sparse

_TIMEOUT_S = 30
_SCROLL = 1024


def connect(url: str, key: str | None) -> Server:
    """A server's engine; the first request finds out whether it answers. Raises BadRequest for what is no URL."""
    try:
        parts, port = urlsplit(url), urlsplit(url).port or 6333
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequest(f"{URL} is {url.rpartition('@')[2]!r}. Allowed: http://HOST:PORT or https://HOST:PORT.")
    place = f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"
    client = QdrantClient(url=url, port=port, api_key=key, timeout=_TIMEOUT_S, check_compatibility=False)
    return Server(client, place)


@dataclass(frozen=True)
class Server:
    client: QdrantClient
    place: str

    def pointers(self, index: str) -> Pointers:
        aliases = {_alias(index, name): name for name in asdict(Pointers())}
        with self._answering():
            found = {each.alias_name: each.collection_name for each in self.client.get_aliases().aliases}
        return Pointers(
            **{name: found[alias].removeprefix(f"{index}-") for alias, name in aliases.items() if alias in found}
        )

    def point(self, index: str, pointers: Pointers) -> None:
        steps: list[Any] = []
        there = asdict(self.pointers(index))
        for name, version in asdict(pointers).items():
            if there[name] is not None:
                gone = models.DeleteAlias(alias_name=_alias(index, name))
                steps.append(models.DeleteAliasOperation(delete_alias=gone))
            if version is not None:
                create = models.CreateAlias(collection_name=f"{index}-{version}", alias_name=_alias(index, name))
                steps.append(models.CreateAliasOperation(create_alias=create))
        with self._answering():
            self.client.update_collection_aliases(steps)  # one request: the server does all or nothing

    def count(self, index: str, version: str) -> int | None:
        with self._answering():
            name = f"{index}-{version}"
            return self.client.count(name, exact=True).count if self.client.collection_exists(name) else None

    def build(self, index: str, version: str, content: Content) -> int:
        name = f"{index}-{version}"
        with self._answering():
            if not self.client.collection_exists(name):
                self.client.create_collection(
                    name,
                    vectors_config={
                        VECTOR: models.VectorParams(size=content.facts["dim"], distance=models.Distance.DOT)
                    },
                    sparse_vectors_config={TERMS: models.SparseVectorParams(modifier=models.Modifier.IDF)},
                    metadata=dict(content.facts),
                )
            for key in INDEXED:  # of a collection that is there too: the reply to its making may have been lost
                self.client.create_payload_index(name, key, models.PayloadSchemaType.KEYWORD, wait=True)
            there, wanted = set(self._ids(name)), set(content.ids)  # there: from a build that was interrupted
            for batch in filter(None, content.points(wanted - there)):
                self.client.upsert(name, [_point(each) for each in batch], wait=True)
            stale = sorted(there - wanted)
            if stale:
                self.client.delete(name, models.PointIdsList(points=list(stale)), wait=True)
            return self.client.count(name, exact=True).count

    def prune(self, index: str) -> list[str]:
        kept = self.pointers(index).kept
        with self._answering():
            names = sorted(found.name for found in self.client.get_collections().collections)
            old = [name.removeprefix(f"{index}-") for name in names if name.startswith(f"{index}-")]
            old = [version for version in old if VERSION.fullmatch(version) and version not in kept]
            for version in old:
                self.client.delete_collection(f"{index}-{version}")
        return old

    @contextmanager
    def reading(self, index: str, version: str | None = None) -> Iterator[Reading]:
        name = version or self.pointers(index).live
        with self._answering():
            if name is None or not self.client.collection_exists(f"{index}-{name}"):
                raise Missing(f"{self.place}: no collection behind the alias {index}.")
            found = self.client.get_collection(f"{index}-{name}")
            yield Reading(self, f"{index}-{name}", name, found.config.metadata or {}, found.points_count or 0)

    def _ids(self, name: str) -> Iterator[str]:
        for record in self._scroll(name, with_payload=False, with_vectors=False):
            yield str(record.id)

    def _scroll(self, name: str, **what: Any) -> Iterator[Any]:
        offset: Any = None
        while True:
            records, offset = self.client.scroll(name, limit=_SCROLL, offset=offset, **what)
            yield from records
            if offset is None:
                return

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """A server that does not answer, or refuses the key, in one message."""
        try:
            yield
        except ResponseHandlingException as error:
            raise Outage(f"{URL}={self.place} does not answer ({error.source}). Start it, or unset {URL}.") from error
        except UnexpectedResponse as error:
            if error.status_code in (401, 403):
                raise BadRequest(f"{self.place} refuses the key in QDRANT_API_KEY ({error.status_code}).") from error
            raise Outage(f"{self.place} answered {error.status_code} {error.reason_phrase}.") from error


@dataclass(frozen=True)
class Reading:
    """A collection that is asked by its own name, so that a moved alias does not change what answers."""

    server: Server
    collection: str
    version: str
    facts: Mapping[str, Any]
    size: int

    def search(self, ask: Ask) -> list[Hit]:
        found = self.server.client.query_points(self.collection, **_query(ask, exact=self.size <= EXACT_UP_TO))
        return [
            Hit(float(each.score), dict(each.payload or {}), (each.vector or {}).get(VECTOR, []))  # type: ignore[union-attr,arg-type]
            for each in found.points
        ]

    def points(self, filters: Filters | None = None) -> Iterator[Point]:
        where = models.Filter(must=conditions(models, filters or {}))
        for each in self.server._scroll(self.collection, scroll_filter=where, with_payload=True, with_vectors=True):
            terms = each.vector[TERMS]
            yield Point(str(each.id), each.vector[VECTOR], Sparse(terms.indices, terms.values), dict(each.payload))

    @contextmanager
    def changed(self, gone: set[str], new: Sequence[Point], scratch: Path) -> Iterator[Release]:
        def points(ids: set[str]) -> Iterator[list[Point]]:
            for each in self.points():
                if each.id in ids:
                    yield [each]
            yield list(new)

        ids = [each for each in self.server._ids(self.collection) if each not in gone]
        content = Content(self.facts, [*ids, *(each.id for each in new)], points)
        with scratch_of(content, scratch) as opened:
            yield opened


def _alias(index: str, pointer: str) -> str:
    return index if pointer == "live" else f"{index}@{pointer}"


def _point(point: Point) -> Any:
    sparse = models.SparseVector(indices=list(point.terms.ids), values=list(point.terms.values))
    return models.PointStruct(
        id=point.id, vector={VECTOR: list(point.vector), TERMS: sparse}, payload=dict(point.payload)
    )


def _query(ask: Ask, *, exact: bool) -> dict[str, Any]:
    visible = seen(models, ask.access, models.IsEmptyCondition(is_empty=models.PayloadField(key=LABELS)))
    where = models.Filter(must=[*conditions(models, ask.filters), *visible])
    # how rare a term is, is counted over what the caller may see: scores say nothing about the rest
    corpus = models.IdfCorpusParams(corpus=models.Filter(must=visible)) if visible else None
    halves: dict[str, dict[str, Any]] = {
        "dense": {
            "query": list(ask.vector),
            "using": VECTOR,
            "params": models.SearchParams(exact=exact, hnsw_ef=None if exact else GRAPH_EF),
        },
        "sparse": {
            "query": models.SparseVector(indices=list(ask.terms.ids), values=list(ask.terms.values)),
            "using": TERMS,
            "params": models.SearchParams(idf=corpus),
        },
    }
    shown = {"limit": ask.limit, "with_payload": True, "with_vectors": [VECTOR] if ask.with_vectors else False}
    if ask.mode != "hybrid":
        half = halves[ask.mode]
        return {"search_params": half.pop("params"), "query_filter": where, **half, **shown}
    scores, ranks = models.FusionQuery(fusion=models.Fusion.DBSF), models.RrfQuery(rrf=models.Rrf(k=RRF_K))
    prefetch = [models.Prefetch(limit=ask.depth, filter=where, **half) for half in halves.values()]
    return {"query": scores if ask.fusion == "dbsf" else ranks, "prefetch": prefetch, **shown}
