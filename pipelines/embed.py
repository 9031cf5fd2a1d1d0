"""embed: chunks/ -> vectors/. One unit vector a distinct passage text; only new texts are computed.

Vectors that an earlier run left (in vectors/, or in var/ when it was interrupted) are taken over when weights and
settings are the same. A vector's bits do not depend on when it was computed, so neither do the bytes of vectors/.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.errors import BadRequest
from pipelines.passages import embedded
from pipelines.progress import Progress, tell
from pipelines.schema.index import Embed, Search
from pipelines.schema.model import Compute
from pipelines.search.embedder import Vectors, load, locked_base
from pipelines.search.postings import write_terms
from pipelines.search.terms import Analyser
from pipelines.stage import stage_main
from pipelines.workspace import (
    Job,
    make_folder,
    read_json,
    replacing,
    require_whole,
    sha256_file,
    sha256_json,
    swap_in,
    write_manifest,
)

METHOD = 1  # how a vector is computed: raise it when the same weights and settings give other bits
_TEXTS_A_PART = 256  # some seconds of work: what an interruption loses at most

Known = dict[str, Vectors]  # key of the text -> its vector


def run(job: Job) -> None:
    """Embed the passages that have no vector yet."""
    chunks = job.folder / "chunks"
    require_whole(chunks)
    settings, compute = job.section("embed", Embed), job.section("compute", Compute)
    base = locked_base(job)
    method = {"weights": base.sha256, "batch_size": settings.batch_size, "threads": compute.threads, "method": METHOD}
    texts = read_texts(chunks / "chunks.parquet")
    parts = Parts(job.workspace.var / "vectors" / job.name, sha256_json(method)[:16])
    earlier = {**kept(job.folder / "vectors", method), **parts.read()}
    vectors = {key: vector for key, vector in earlier.items() if key in texts}
    new = sorted(set(texts) - set(vectors))
    _say(new=len(new), reused=len(vectors), dropped=len(earlier) - len(vectors))
    if new:
        embedder = load(base.folder, threads=compute.threads, rows=settings.batch_size)
        with Progress(f"embed {job.name}", total=len(new), unit="passages") as progress:
            for rows, batch in embedder.encode_batches([texts[key] for key in new]):
                _refuse_broken(batch, base.folder)
                parts.add([new[row] for row in rows], batch)
                progress.advance(len(rows))
        parts.close()
        vectors |= {key: vector for key, vector in parts.read().items() if key in texts}
    with replacing(job.folder / "vectors") as folder:
        write_vectors(folder / "vectors.parquet", vectors)
        terms = write_terms(folder, texts, job.folder / "vectors", Analyser(job.section("search", Search).language))
        write_manifest(folder, {"embedder": method, "terms": terms, "vectors": len(vectors), "dim": _dim(vectors)})
    parts.remove()


def read_texts(path: Path) -> dict[str, str]:
    """What is to be embedded, by its key; a text that several passages share stands once."""
    texts: dict[str, str] = {}
    for batch in pq.ParquetFile(path).iter_batches(columns=["key", "heading", "text"]):
        for row in batch.to_pylist():
            texts.setdefault(row["key"], embedded(row["heading"], row["text"]))
    return texts


def kept(folder: Path, method: Mapping[str, Any]) -> Known:
    """The vectors of an earlier run; none when it used other weights or settings, or its file is damaged."""
    path = folder / "vectors.parquet"
    try:
        manifest = read_json(folder / "manifest.json")
    except BadRequest:
        return {}
    same = manifest.get("embedder") == method
    whole = path.is_file() and sha256_file(path) == manifest["files"].get(path.name)
    return dict(read_vectors(path)) if same and whole else {}


def read_vectors(path: Path) -> Iterator[tuple[str, Vectors]]:
    table = pq.read_table(path)
    column = table["vector"].combine_chunks()
    matrix: Vectors = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    yield from zip(table["key"].to_pylist(), matrix, strict=True)


def write_vectors(path: Path, vectors: Mapping[str, Vectors]) -> None:
    """Sorted by key, so equal vectors are equal bytes."""
    keys = sorted(vectors)
    matrix = np.stack([vectors[key] for key in keys])
    column = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel(), pa.float32()), matrix.shape[1])
    # no compression: there is nothing to gain in random mantissas
    pq.write_table(pa.table({"key": pa.array(keys, pa.string()), "vector": column}), path, compression="none")


@dataclass
class Parts:
    """Finished batches of a run that has not ended, in files of their own: an interrupted run goes on from them."""

    folder: Path
    method: str  # other weights or settings: another folder, and the rest is removed at the end

    def __post_init__(self) -> None:
        self._waiting: Known = {}

    def read(self) -> Known:
        found: Known = {}
        for path in sorted((self.folder / self.method).glob("*.parquet")):
            found.update(read_vectors(path))
        return found

    def add(self, keys: Sequence[str], batch: Vectors) -> None:
        self._waiting.update(zip(keys, batch, strict=True))
        if len(self._waiting) >= _TEXTS_A_PART:
            self.close()

    def close(self) -> None:
        """Write what is waiting; a part has its name only when it is whole."""
        if self._waiting:
            name = hashlib.sha256("".join(sorted(self._waiting)).encode()).hexdigest()[:16]
            path = self.folder / self.method / f"{name}.parquet"
            make_folder(path.parent)
            beside = path.with_suffix(".new")
            write_vectors(beside, self._waiting)
            swap_in(beside, path)
            self._waiting = {}

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _say(**counts: int) -> None:
    tell(**counts)
    print("embed: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()), file=sys.stderr, flush=True)


def _refuse_broken(batch: Vectors, folder: Path) -> None:
    if not np.allclose(np.linalg.norm(batch, axis=1), 1, atol=1e-3):
        raise BadRequest(
            f"{folder}: its weights give vectors that are not finite, so they cannot be searched. Name others."
        )


def _dim(vectors: Mapping[str, Vectors]) -> int:
    return len(next(iter(vectors.values())))


if __name__ == "__main__":
    stage_main("embed", run, kind="index")
