"""embed: chunks/ -> vectors/. One unit vector a distinct passage text; only new texts are computed.

Vectors that another run left (in vectors/, in those of another index, or in var/ when it was interrupted) are taken
over when weights and arithmetic are the same. A vector's bits do not depend on when it was computed, so neither do the
bytes of vectors/.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.atomic_files import replacing, sha256_json
from core.errors import BadRequest
from core.manifest import as_recorded, earlier_manifest, require_whole, unchanged, write_manifest
from core.progress import Progress, tell
from core.schema.model import Compute
from core.schema.search import Embed, Search
from core.tables.row_groups import batches
from core.workspace import Job
from pipelines.embed.precision import METHODS, Model, choose
from pipelines.search.text.passages import embedded
from pipelines.search.text.term_table import write_terms
from pipelines.search.text.terms import Analyser
from pipelines.search.vectors.embedder import QUANTISED, load
from pipelines.search.vectors.token_reader import locked_base
from pipelines.search.vectors.vector_table import Filling, Keys, Parts, Table, as_keys, read, write

FILE = "vectors.parquet"


def run(job: Job) -> None:
    """Embed the passages that have no vector yet."""
    chunks, vectors = job.folder / "chunks", job.folder / "vectors"
    cut = require_whole(chunks)
    path, work = chunks / "chunks.parquet", job.workspace.var / "vectors" / job.name
    settings, compute = job.section("embed", Embed), job.section("compute", Compute)
    analyser = Analyser(job.section("search", Search).language)
    identity = job.settings["bases"][settings.model]
    of = sha256_json([cut["files"][path.name], job.settings["embed"], identity, METHODS, analyser.identity])
    if (same := unchanged(vectors, of)) is not None:
        _say(new=0, reused=same["vectors"], dropped=0)
        return
    base, found, texts = locked_base(job), Filling(read_keys(path)), partial(read_texts, path)
    model = choose(settings.precision, base, vectors, work, found.keys, texts, compute.threads)
    parts = Parts(work / sha256_json(model.said)[:16])
    dropped = take(found, vectors, parts, model.said)
    new = found.missing
    _say(new=len(new), reused=len(found.keys) - len(new), dropped=dropped)
    if len(new):
        _embed(job, model, base.folder, texts(new), parts, compute.threads)
        for table in parts.read():
            found.put(table.keys, table.matrix)
    with replacing(vectors) as folder:
        write(folder / FILE, Table(found.keys, found.matrix))
        if model.quantised is not None:
            shutil.copytree(model.quantised.parent, (folder / QUANTISED).parent)
        names = pa.array(found.keys).cast(pa.string()).to_pylist()
        terms = write_terms(folder, names, lambda names: texts(as_keys(names)), vectors, analyser)
        facts = {"of": of, "embedder": model.said, "int8": model.judged, "terms": terms, "vectors": len(found.keys)}
        write_manifest(folder, {**facts, "dim": found.matrix.shape[1]})
    shutil.rmtree(work, ignore_errors=True)


def read_keys(path: Path) -> Keys:
    """The keys in a file, sorted; one that several passages share stands once."""
    return np.unique(as_keys(pq.read_table(path, columns=["key"])["key"].to_pylist()))


def read_texts(path: Path, keys: Keys) -> dict[str, str]:
    """What is to be embedded, by its key."""
    wanted = pa.array(keys).cast(pa.string())
    texts: dict[str, str] = {}
    for batch in batches(pq.ParquetFile(path), columns=["key", "heading", "text"]):
        for row in batch.filter(pc.is_in(batch["key"], value_set=wanted)).to_pylist():
            texts.setdefault(row["key"], embedded(row["heading"], row["text"]))
    return texts


def take(found: Filling, own: Path, parts: Parts, said: Mapping[str, Any]) -> int:
    """Fill in what is there already; returns how many vectors of this index nobody wants any more."""
    dropped = 0
    earlier = [own / FILE] if _made_by(own, said) else []
    for table in chain(map(read, earlier), parts.read()):
        dropped += len(table.keys) - found.put(table.keys, table.matrix)
    for other in sorted(own.parent.parent.glob(f"*/{own.name}")):  # of the workspace's other indexes
        if len(found.missing) and other != own and _made_by(other, said):
            table = read(other / FILE)
            found.put(table.keys, table.matrix)
    return dropped


def _made_by(folder: Path, said: Mapping[str, Any]) -> bool:
    """Whether a folder holds vectors of this model, and they are not damaged."""
    manifest = earlier_manifest(folder)
    return manifest.get("embedder") == said and as_recorded(folder / FILE, manifest)


def _embed(job: Job, model: Model, base: Path, texts: Mapping[str, str], parts: Parts, threads: int) -> None:
    keys = as_keys(list(texts))
    embedder = load(base, threads=threads, precision=model.said["precision"], quantised=model.quantised)
    with Progress(f"embed {job.name}", total=len(keys), unit="passages") as progress:
        for rows, batch in embedder.encode_batches(list(texts.values())):
            if not np.allclose(np.linalg.norm(batch, axis=1), 1, atol=1e-3):
                raise BadRequest(
                    f"{base}: its weights give vectors that are not finite, so they cannot be searched. Name others."
                )
            parts.add(keys[rows], batch)
            progress.advance(len(rows))
    parts.close()


def _say(**counts: int) -> None:
    tell(**counts)
    print("embed: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()), file=sys.stderr, flush=True)
