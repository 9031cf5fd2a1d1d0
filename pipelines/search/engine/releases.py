"""What stands in Parquet -> what an engine holds.

The Parquet files are the index; an engine's files are a cache of them that `ensure` builds again.
"""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.atomic_files import read_json, sha256_json
from core.errors import BadData, BadRequest, HeadraceError
from core.manifest import require_whole
from core.progress import Progress
from core.tables import tombstones
from core.workspace import Job
from pipelines.search.engine.copies import FILE as COPIES_FILE
from pipelines.search.engine.copies import LAYOUT, SINCE, UNREAD, Holder, as_payload, read_copies
from pipelines.search.engine.embedded import Edge
from pipelines.search.engine.engine import Content, Engine, Point
from pipelines.search.engine.index_receipt import read_receipt, receipt_holds
from pipelines.search.text.term_table import FILE as TERMS_FILE
from pipelines.search.text.term_table import Postings
from pipelines.search.vectors import vector_table
from pipelines.search.vectors.forward import Vectors

_FIRST_LAYOUT = 2  # of chunks that do not say theirs
_POINTS_AT_ONCE = 512
_SAID = ("document", "position", "heading", "text", "source", "key")  # by a point, of its row in chunks.parquet
_OPTIONAL = ("page", "labels")


@dataclass(frozen=True)
class Truth:
    """An index as chunks/ and vectors/ hold it. facts: what a version says about how it was made."""

    index: str
    folder: Path
    version: str  # names content and settings, so the same are the same version everywhere
    facts: Mapping[str, Any]
    layout: int = LAYOUT

    @property
    def points(self) -> int:
        return int(self.facts["points"])

    @cached_property
    def ids(self) -> list[str]:
        """The points' ids, in the order of the passages: hashes of all that decides what a point holds."""
        made_with = sha256_json([self.layout, self.facts["embedder"]["method"], self.facts["terms"]])
        chunks = pq.read_table(self.folder / "chunks" / "chunks.parquet", columns=["chunk_id", "document"]).to_pydict()
        said = {document: f" {sha256_json(as_payload(copies))}" for document, copies in self.copies.items()}
        return [
            point_id(f"{made_with} {chunk_id}{said.get(document, '')}")
            for chunk_id, document in zip(chunks["chunk_id"], chunks["document"], strict=True)
        ]

    @cached_property
    def copies(self) -> Mapping[str, list[Holder]]:
        return read_copies(self.folder / "chunks") if self.layout >= SINCE else {}

    @cached_property
    def postings(self) -> Postings:
        return Postings.read(self.folder / "vectors")

    def batches(self, ids: set[str]) -> Iterator[list[Point]]:
        """The passages with these ids, with their vectors and terms. Raises BadData when one has no vector."""
        wanted = [row for row, each in enumerate(self.ids) if each in ids]
        if not wanted:
            return
        file = pq.ParquetFile(self.folder / "chunks" / "chunks.parquet")
        columns = [name for name in (*_SAID, *_OPTIONAL, "chunk_id") if name in file.schema_arrow.names]
        chunks = file.read(columns).take(pa.array(wanted, pa.int64()))
        vectors = vector_table.read(self.folder / "vectors" / "vectors.parquet")
        rows = {key.decode(): row for row, key in enumerate(vectors.keys.tolist())}
        for at in range(0, len(wanted), _POINTS_AT_ONCE):
            batch = chunks.slice(at, _POINTS_AT_ONCE).to_pylist()
            yield [
                self._point(self.ids[row], chunk, rows, vectors.matrix)
                for row, chunk in zip(wanted[at:], batch, strict=False)
            ]

    def _point(self, identity: str, chunk: dict[str, Any], rows: Mapping[str, int], matrix: Vectors) -> Point:
        key, chunk_id = chunk["key"], chunk.pop("chunk_id")
        if key not in rows:
            raise BadData(f"{self.folder}: no vector for chunk {chunk_id}. `headrace index {self.index}` again.")
        own, copies = Holder(chunk["document"], chunk["source"]), self.copies.get(chunk["document"], ())
        payload = {**chunk, "section": own.section, **as_payload(copies)}
        return Point(identity, matrix[rows[key]].tolist(), self.postings.of(key), payload)


def read_truth(job: Job) -> Truth:
    """Raises BadRequest when chunk or embed has not run."""
    of_chunks, of_vectors = (require_whole(job.folder / name) for name in ("chunks", "vectors"))
    reference, search, bases = job.settings["embed"]["model"], job.settings["search"], job.settings["bases"]
    rerank = search["rerank"]
    reranker = None if rerank is None else {"reference": rerank, "identity": bases[rerank]}
    files = {**of_chunks["files"], **of_vectors["files"]}
    layout = int(of_chunks.get("layout", _FIRST_LAYOUT))
    read = ("chunks.parquet", "vectors.parquet", TERMS_FILE, *((COPIES_FILE,) if layout >= SINCE else ()))
    hashes = {name: files[name] for name in read}
    facts = {
        "index": job.name,
        "points": int(of_chunks["chunks"]),
        "dim": int(of_vectors["dim"]),
        "files": hashes,
        "embedder": {
            "reference": reference,
            "identity": bases[reference],
            "method": of_vectors["embedder"],
        },
        "terms": of_vectors["terms"],
        "search": search,
        "reranker": reranker,
        "documents": int(of_chunks["documents"]),
        "unread": int(of_chunks.get("unread", 0)),
        "forgotten": len(tombstones.read(job).marks),
    }
    return Truth(job.name, job.folder, sha256_json([layout, hashes, search, reranker])[:16], facts, layout)


def build(truth: Truth, engine: Engine) -> None:
    """Build the version beside the live one, and count it.

    Raises HeadraceError when the engine holds another number of points than the Parquet files.
    """
    if engine.count(truth.index, truth.version) == truth.points:
        return
    with Progress(f"publish {truth.index}", total=truth.points, unit="passages") as progress:

        def watched(ids: set[str]) -> Iterator[list[Point]]:
            progress.advance(truth.points - len(ids))
            for batch in truth.batches(ids):
                yield batch
                progress.advance(len(batch))

        content = Content(truth.facts, truth.ids, watched)
        count = engine.build(truth.index, truth.version, content)
    if count != truth.points:
        raise HeadraceError(
            f"{engine.place} holds {count:,} points of {truth.index} {truth.version} instead of {truth.points:,}. "
            "The live version is untouched; run again."
        )


def release(truth: Truth, engine: Engine) -> list[str]:
    """Make a version that was built the live one, keep the one before it, remove the rest; returns what went."""
    pointers = engine.pointers(truth.index)
    if pointers.live != truth.version:
        engine.point(truth.index, pointers.released(truth.version))
    return engine.prune(truth.index)


def receipt(truth: Truth, engine: Engine) -> dict[str, Any]:
    """What published.json says of a version, whatever became of it."""
    return {
        "index": truth.index,
        "place": engine.place,
        "version": truth.version,
        "collection": f"{truth.index}-{truth.version}",
        "points": truth.points,
        "dim": truth.facts["dim"],
        "documents": truth.facts["documents"],
        "unread": truth.facts["unread"],
        "vectors": truth.facts["files"]["vectors.parquet"],
        "embedder": {key: truth.facts["embedder"][key] for key in ("reference", "identity")},
    }


def unread_of(job: Job) -> list[dict[str, Any]]:
    """The documents that could not be read when an index was cut last, the first thousand, with reasons and labels."""
    file = job.folder / "chunks" / UNREAD
    found: list[dict[str, Any]] = read_json(file) if file.is_file() else []
    return found


def ensure(job: Job, engine: Engine) -> None:
    """Build the embedded engine's live version again from Parquet, where it is missing or damaged.

    Raises BadRequest when Parquet holds something else by now, or was never published; and for a server.
    """
    said, pointers = read_receipt(job), engine.pointers(job.name)
    if not said.get("published") and pointers.live is None:
        why = [each["why"] for each in said.get("verdict", {}).get("reasons", ()) if not each["passed"]]
        raise BadRequest(f"{job.name} has no live release: the one that was made was refused ({'; '.join(why)}).")
    truth, live = read_truth(job), pointers.live or said["version"]
    if not isinstance(engine, Edge) or not said.get("published") or truth.version != live:
        reason = receipt_holds(said, job.workspace) or "its passages or vectors have changed since"
        raise BadRequest(f"{job.name} must be published again: {reason}. `headrace index {job.name}` does it.")
    print(f"{job.name}: building the embedded engine's files again from {job.folder}", file=sys.stderr, flush=True)
    build(truth, engine)
    release(truth, engine)


def point_id(text: str) -> str:
    """The UUID that a point with this to say has."""
    return str(uuid.UUID(bytes=hashlib.sha256(text.encode()).digest()[:16]))
