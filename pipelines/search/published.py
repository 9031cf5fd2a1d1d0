"""What stands in Parquet -> what an engine holds, and whether a receipt still says the truth.

The Parquet files are the index; an engine's files are a cache of them that `ensure` builds again.
"""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipelines.errors import BadData, BadRequest, HeadraceError
from pipelines.progress import Progress
from pipelines.search.engine import Edge, Engine, Point, choose
from pipelines.workspace import Job, Workspace, read_json, require_whole, sha256_json

LAYOUT = 1  # of what a point says: another layout is another version of every index
_POINTS_AT_ONCE = 512


@dataclass(frozen=True)
class Truth:
    """An index as chunks/ and vectors/ hold it."""

    index: str
    chunks: Path
    vectors: Path
    version: str  # names the content, so the same content is the same version everywhere
    points: int
    dim: int
    vectors_sha256: str
    embedder: Mapping[str, Any]

    @property
    def batches(self) -> Iterator[list[Point]]:
        """Every passage with its vector. Raises BadData when one has none."""
        table = pq.read_table(self.vectors)
        rows = {key: row for row, key in enumerate(table["key"].to_pylist())}
        matrix = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, self.dim)
        for batch in pq.ParquetFile(self.chunks).iter_batches(batch_size=_POINTS_AT_ONCE):
            yield [self._point(chunk, rows, matrix) for chunk in batch.to_pylist()]

    def _point(self, chunk: Mapping[str, Any], rows: Mapping[str, int], matrix: np.ndarray[Any, Any]) -> Point:
        if chunk["key"] not in rows:
            raise BadData(
                f"{self.vectors}: no vector for chunk {chunk['chunk_id']}. `headrace index {self.index}` again."
            )
        said = f"{LAYOUT} {chunk['chunk_id']} {self.embedder['weights']}"
        section, inside, _ = chunk["document"].partition("/")
        payload = {
            **{name: chunk[name] for name in ("document", "position", "heading", "text", "source", "key")},
            "section": section if inside else "",
        }
        identity = uuid.UUID(bytes=hashlib.sha256(said.encode()).digest()[:16])
        return Point(str(identity), matrix[rows[chunk["key"]]].tolist(), payload)


def read_truth(job: Job) -> Truth:
    """Raises BadRequest when chunk or embed has not run."""
    chunks, vectors = (job.folder / name for name in ("chunks", "vectors"))
    of_chunks, of_vectors = require_whole(chunks), require_whole(vectors)
    said = [LAYOUT, of_chunks["files"]["chunks.parquet"], of_vectors["files"]["vectors.parquet"]]
    return Truth(
        index=job.name,
        chunks=chunks / "chunks.parquet",
        vectors=vectors / "vectors.parquet",
        version=sha256_json(said)[:16],
        points=int(of_chunks["chunks"]),
        dim=int(of_vectors["dim"]),
        vectors_sha256=of_vectors["files"]["vectors.parquet"],
        embedder=of_vectors["embedder"],
    )


def put(truth: Truth, engine: Engine) -> list[str]:
    """Build the version beside the live one, count it, make it live, remove what nobody reads; returns what went.

    Raises HeadraceError when the engine holds another number of points than the Parquet files; the live version
    then stays the live one.
    """
    with Progress(f"publish {truth.index}", total=truth.points, unit="passages") as progress:
        count = engine.build(truth.index, truth.version, truth.dim, _watched(truth.batches, progress))
    if count != truth.points:
        raise HeadraceError(
            f"{engine.place} holds {count:,} points of {truth.index} {truth.version} instead of {truth.points:,}. "
            "The live version is untouched; run again."
        )
    if engine.live(truth.index) != truth.version:
        engine.activate(truth.index, truth.version)
    return engine.prune(truth.index)


def receipt(truth: Truth, engine: Engine, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What published.json says; settings: the index's settings.json."""
    reference = settings["embed"]["model"]
    return {
        "index": truth.index,
        "place": engine.place,
        "version": truth.version,
        "collection": f"{truth.index}-{truth.version}",
        "points": truth.points,
        "dim": truth.dim,
        "vectors": truth.vectors_sha256,
        "embedder": {"reference": reference, "identity": settings["bases"][reference]},
        "published": True,
    }


def read_receipt(job: Job) -> dict[str, Any]:
    """Raises BadRequest, with the command, for an index that does not exist or is not published."""
    known = sorted(path.stem for path in (job.workspace.root / "indexes").glob("*.yaml"))
    if job.name not in known:
        raise BadRequest(f"no index is named {job.name!r}. There are: {', '.join(known) or 'none'}.")
    path = job.folder / "published.json"
    said = read_json(path) if path.is_file() else {}
    if not said.get("published"):
        raise BadRequest(f"{job.name} is not published yet ({path} is not there). `headrace index {job.name}` does it.")
    return dict(said)


def receipt_holds(said: Mapping[str, Any], workspace: Workspace) -> str | None:
    """Why a receipt is no longer true; None: it is. Asks the engine, reads no vectors. Raises Outage."""
    index, version = str(said["index"]), str(said["version"])
    if not said.get("published"):
        return "it was written by an experiment, which publishes nothing"
    engine = choose(workspace)
    if engine.place != said["place"]:
        return f"it was published to {said['place']}, and now {engine.place} is asked"
    live = engine.live(index)
    if live is None:
        return f"{engine.place} has no live version of {index}"
    if live != version:
        return f"{engine.place} serves version {live} of {index} instead of {version}"
    count = engine.count(index, version)
    if count is None:
        return f"{engine.place} has lost version {version} of {index}, or it is damaged"
    if count != said["points"]:
        return f"{engine.place} holds {count:,} points of {index} instead of {said['points']:,}"
    return None


def ensure(job: Job, engine: Engine) -> None:
    """Build the embedded engine's files again from Parquet where they are missing or damaged; a server is asked only.

    Raises BadRequest when the receipt does not hold and building again would be publishing something else.
    """
    said = read_receipt(job)
    version = str(said["version"])
    if engine.live(job.name) == version and engine.count(job.name, version) == said["points"]:
        return
    truth = read_truth(job)
    if not isinstance(engine, Edge) or truth.version != version:
        reason = receipt_holds(said, job.workspace) or "its passages or vectors have changed since"
        raise BadRequest(f"{job.name} must be published again: {reason}. `headrace index {job.name}` does it.")
    print(f"{job.name}: building the embedded engine's files again from {job.folder}", file=sys.stderr, flush=True)
    put(truth, engine)


def _watched(batches: Iterator[list[Point]], progress: Progress) -> Iterator[list[Point]]:
    for batch in batches:
        yield batch
        progress.advance(len(batch))
