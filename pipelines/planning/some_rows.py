"""Some rows of a source, prepared as the stages would prepare them; how many there are in all.

Rows are drawn by their content's hash from all that could be read in the time there is; those of a time series, which
have to follow each other, are the first. The contract's expectations are not asked: rows that cannot be read are left
out, and no others.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.atomic_files import make_folder
from core.manifest import write_manifest
from core.schema.columns import FAULT, Contract
from core.schema.data import Data
from core.tables.row_groups import batches
from core.tables.tombstones import KEY, read
from pipelines.collect.collect import EXAMPLES, Collected, collect, opened
from pipelines.planning.aside import Aside
from pipelines.planning.borrowed import borrowed
from pipelines.preprocess.preprocess import run as preprocess
from pipelines.sources import find_source
from pipelines.sources._files import Record, Table

MOST_ROWS = 20_000  # that are prepared; of pictures and sounds the other number
MOST_MEDIA = 2_000
READ_S = 15.0  # after so long, what has not been read is not read


@dataclass
class Reading:
    """How much of the source was read. whole: all of it."""

    whole: bool = True


def prepare_some(job: Aside) -> dict[str, float | bool]:
    """Fill raw/, validated/ and prepared/ of a recipe that was set aside.

    Returns `share`, how many of the rows that are wanted are prepared (0 to 1), and `whole`, whether all were read.
    """
    data, contract = job.section("data", Data), job.section("examples", Contract)
    most = MOST_MEDIA if contract.media else MOST_ROWS
    in_time = any(column.kind == "time" and column.required for column in contract.columns.values())
    reading = Reading()
    found = _collect(job, data, contract, reading, first=most if in_time else None, sample=None if in_time else most)
    _screen(job)
    preprocess(job)
    wanted = found.counts.wanted if data.sample is None else min(found.counts.wanted, data.sample)
    return {"share": found.counts.kept / max(wanted, 1), "whole": reading.whole}


def _collect(
    job: Aside, data: Data, contract: Contract, reading: Reading, *, first: int | None, sample: int | None
) -> Collected:
    root, raw = job.workspace.root, job.folder / "raw"
    identity = {key: value for key, value in job.settings["source"].items() if key != KEY}
    downloads = borrowed(job.workspace.var / "downloads", job.place / "downloads")
    fetched = find_source(data.source).fetch(data, root, downloads=downloads, identity=identity)
    if sample is not None:
        data = data.model_copy(update={"sample": min(sample, data.sample or sample)})
    tables, shape, facts = opened(fetched, data, contract, root)
    make_folder(raw)
    found = collect(_in_time(tables, reading, first), shape, raw, read(job))
    write_manifest(raw, facts)
    return found


def _in_time(tables: Iterable[Table], reading: Reading, first: int | None) -> Iterator[Table]:
    """The tables up to where the time is over, or the first rows are read."""
    end, left = time.monotonic() + READ_S, first

    def records(table: Table) -> Iterator[Record]:
        nonlocal left
        for record in table.records:
            if left == 0 or time.monotonic() > end:
                reading.whole = False
                return
            left = None if left is None else left - 1
            yield record

    for table in tables:
        yield replace(table, records=records(table))


def _screen(job: Aside) -> None:
    """validated/ without the rows that could not be read."""
    folder = job.folder / "validated"
    make_folder(folder)
    source = pq.ParquetFile(job.folder / "raw" / EXAMPLES)
    with pq.ParquetWriter(folder / EXAMPLES, source.schema_arrow) as clean:
        for batch in batches(source):
            clean.write_batch(batch.filter(pc.is_null(batch[FAULT])))
    write_manifest(folder, {})
