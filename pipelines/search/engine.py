"""Where passages are searched: Qdrant, embedded in this process or behind QDRANT_URL. One interface, two engines.

Versions of an index stand beside each other; one is live. A version is built whole, counted, and only then made live,
so a reader sees the old or the new and never half. Whatever an engine holds can be built again from Parquet.

Embedded (qdrant-edge, the server's own segment engine): var/qdrant/INDEX/VERSION/ is never changed once it has its
name, so it needs no write-ahead log, and without one any number of processes may read it; CURRENT names the live one.
Server: collection INDEX-VERSION, and alias INDEX on the live one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from pipelines.errors import BadRequest, HeadraceError, Outage
from pipelines.search.versions import VERSION, Versions
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

URL, KEY = "QDRANT_URL", "QDRANT_API_KEY"
VECTOR = "dense"
KEYWORDS = ("document", "section", "heading", "source")  # payload keys that a filter may name
_TIMEOUT_S = 30
_SCROLL = 4096

Filters = Mapping[str, str]


@dataclass(frozen=True)
class Point:
    id: str  # a UUID, of all that the point says: a changed passage is another point
    vector: Sequence[float]
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Hit:
    score: float
    payload: Mapping[str, Any]


class Engine(Protocol):
    @property
    def place(self) -> str:
        """What a receipt says about where this is; no secrets."""

    def live(self, index: str) -> str | None:
        """The version that is searched."""

    def count(self, index: str, version: str) -> int | None:
        """Its points; None when it is missing or damaged."""

    def build(self, index: str, version: str, dim: int, batches: Iterable[list[Point]]) -> int:
        """Bring a version to hold exactly these points; returns their number. It is not live yet."""

    def activate(self, index: str, version: str) -> None:
        """Make a version the live one, in one step."""

    def prune(self, index: str) -> list[str]:
        """Remove the versions that are not live and that nobody reads; returns them."""

    def search(self, index: str, vector: Sequence[float], limit: int, filters: Filters) -> list[Hit]:
        """The nearest live points by dot product, exactly. Raises Missing when there is no whole live version."""


class Missing(HeadraceError):
    """The engine has no whole live version of an index."""


def choose(workspace: Workspace) -> Engine:
    """The server that QDRANT_URL names, else the embedded engine."""
    url = os.environ.get(URL)
    return connect(url, os.environ.get(KEY)) if url else Edge(Versions(workspace.var / "qdrant"))


# --- embedded ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edge:
    """qdrant-edge in this process, on folders of versions."""

    versions: Versions
    place: str = "embedded"

    def live(self, index: str) -> str | None:
        return self.versions.live(index)

    def count(self, index: str, version: str) -> int | None:
        with self.versions.reading(index, version) as folder:
            return _points(folder) if folder else None

    def build(self, index: str, version: str, dim: int, batches: Iterable[list[Point]]) -> int:
        with self.versions.building(index):
            done = self.count(index, version)
            if done is not None:
                return done
            with self.versions.new(index, version) as folder:
                return _write(folder, dim, batches)

    def activate(self, index: str, version: str) -> None:
        self.versions.activate(index, version)

    def prune(self, index: str) -> list[str]:
        with self.versions.building(index):
            return self.versions.prune(index)

    def search(self, index: str, vector: Sequence[float], limit: int, filters: Filters) -> list[Hit]:
        import qdrant_edge as qdrant

        conditions: list[Any] = [
            qdrant.FieldCondition(key, match=qdrant.MatchValue(value)) for key, value in filters.items()
        ]
        request = qdrant.QueryRequest(
            limit=limit,
            query=qdrant.Query.Nearest(list(vector), using=VECTOR),
            filter=qdrant.Filter(must=conditions) if conditions else None,
            with_payload=True,
            params=qdrant.SearchParams(exact=True),
        )
        with self.versions.reading(index) as folder:
            shard = _opened(folder) if folder else None
            if shard is None:
                raise Missing(f"{self.versions.root / index}: no whole version of {index}.")
            hits = [Hit(float(found.score), dict(found.payload)) for found in shard.query(request)]
            shard.close()
        return hits


def _write(folder: Path, dim: int, batches: Iterable[list[Point]]) -> int:
    import qdrant_edge as qdrant

    vectors = {VECTOR: qdrant.EdgeVectorParams(size=dim, distance=qdrant.Distance.Dot)}
    shard = qdrant.EdgeShard.create(str(folder), qdrant.EdgeConfig(vectors=vectors, wal_enabled=False))
    for key in KEYWORDS:
        shard.update(qdrant.UpdateOperation.create_field_index(key, qdrant.PayloadSchemaType.Keyword))
    for batch in batches:
        points = [qdrant.Point(one.id, {VECTOR: list(one.vector)}, dict(one.payload)) for one in batch]
        shard.update(qdrant.UpdateOperation.upsert_points(points))
    shard.flush()
    shard.close()
    # counted as a reader would: opened again, which is also when the engine completes its own settings file
    return _points(folder) or 0


def _points(folder: Path) -> int | None:
    import qdrant_edge as qdrant

    shard = _opened(folder)
    if shard is None:
        return None
    count = int(shard.count(qdrant.CountRequest(exact=True)))
    shard.close()
    return count


def _opened(folder: Path) -> Any:
    """The shard, or None when the engine finds it damaged: it then raises a bare Exception, its only kind."""
    import qdrant_edge

    try:
        return qdrant_edge.EdgeShard.load(str(folder))
    except Exception as error:  # noqa: BLE001
        print(f"{folder}: cannot be opened ({error})", file=sys.stderr, flush=True)
        return None


# --- server -----------------------------------------------------------------------------------------------------------


def connect(url: str, key: str | None) -> Server:
    """A server's engine; the first request finds out whether it answers. Raises BadRequest for what is no URL."""
    try:
        parts, port = urlsplit(url), urlsplit(url).port or 6333
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise BadRequest(f"{URL} is {url.rpartition('@')[2]!r}. Allowed: http://HOST:PORT or https://HOST:PORT.")
    from qdrant_client import QdrantClient

    place = f"{parts.scheme}://{parts.hostname}:{port}{parts.path.rstrip('/')}"
    client = QdrantClient(url=url, port=port, api_key=key, timeout=_TIMEOUT_S, check_compatibility=False)
    return Server(client, place)


@dataclass(frozen=True)
class Server:
    """A Qdrant server through qdrant-client."""

    client: QdrantClient
    place: str

    def live(self, index: str) -> str | None:
        with self._answering():
            for alias in self.client.get_aliases().aliases:
                if alias.alias_name == index:
                    return alias.collection_name.removeprefix(f"{index}-")
        return None

    def count(self, index: str, version: str) -> int | None:
        with self._answering():
            name = f"{index}-{version}"
            return self.client.count(name, exact=True).count if self.client.collection_exists(name) else None

    def build(self, index: str, version: str, dim: int, batches: Iterable[list[Point]]) -> int:
        from qdrant_client import models

        name = f"{index}-{version}"
        with self._answering():
            if not self.client.collection_exists(name):
                vectors = {VECTOR: models.VectorParams(size=dim, distance=models.Distance.DOT)}
                self.client.create_collection(name, vectors_config=vectors)
            for key in KEYWORDS:  # of a collection that is there too: the reply to its making may have been lost
                self.client.create_payload_index(name, key, models.PayloadSchemaType.KEYWORD, wait=True)
            there = frozenset(self._ids(name))  # from a build that was interrupted
            stale = set(there)
            for batch in batches:
                new = [point for point in batch if point.id not in there]
                stale.difference_update(point.id for point in batch)
                points = [
                    models.PointStruct(id=p.id, vector={VECTOR: list(p.vector)}, payload=dict(p.payload)) for p in new
                ]
                if points:
                    self.client.upsert(name, points, wait=True)
            if stale:
                self.client.delete(name, models.PointIdsList(points=sorted(stale)), wait=True)
            return self.client.count(name, exact=True).count

    def activate(self, index: str, version: str) -> None:
        from qdrant_client import models

        create = models.CreateAlias(collection_name=f"{index}-{version}", alias_name=index)
        steps: list[Any] = [models.CreateAliasOperation(create_alias=create)]
        if self.live(index):
            gone = models.DeleteAlias(alias_name=index)
            steps.insert(0, models.DeleteAliasOperation(delete_alias=gone))
        with self._answering():
            self.client.update_collection_aliases(steps)  # one request: the server does all or nothing

    def prune(self, index: str) -> list[str]:
        live = self.live(index)
        with self._answering():
            names = sorted(found.name for found in self.client.get_collections().collections)
            old = [name.removeprefix(f"{index}-") for name in names if name.startswith(f"{index}-")]
            old = [version for version in old if VERSION.fullmatch(version) and version != live]
            for version in old:
                self.client.delete_collection(f"{index}-{version}")
        return old

    def search(self, index: str, vector: Sequence[float], limit: int, filters: Filters) -> list[Hit]:
        from qdrant_client import models

        if self.live(index) is None:
            raise Missing(f"{self.place}: no collection behind the alias {index}.")
        conditions: list[Any] = [
            models.FieldCondition(key=key, match=models.MatchValue(value=value)) for key, value in filters.items()
        ]
        with self._answering():
            found = self.client.query_points(
                index,
                query=list(vector),
                using=VECTOR,
                limit=limit,
                query_filter=models.Filter(must=conditions) if conditions else None,
                search_params=models.SearchParams(exact=True),
                with_payload=True,
            )
        return [Hit(float(point.score), dict(point.payload or {})) for point in found.points]

    def _ids(self, name: str) -> Iterator[str]:
        offset: Any = None
        while True:
            records, offset = self.client.scroll(
                name, limit=_SCROLL, offset=offset, with_payload=False, with_vectors=False
            )
            yield from (str(record.id) for record in records)
            if offset is None:
                return

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """A server that does not answer, or refuses the key, in one message."""
        from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

        try:
            yield
        except ResponseHandlingException as error:
            raise Outage(f"{URL}={self.place} does not answer ({error.source}). Start it, or unset {URL}.") from error
        except UnexpectedResponse as error:
            if error.status_code in (401, 403):
                raise BadRequest(f"{self.place} refuses the key in {KEY} ({error.status_code}).") from error
            raise Outage(f"{self.place} answered {error.status_code} {error.reason_phrase}.") from error
