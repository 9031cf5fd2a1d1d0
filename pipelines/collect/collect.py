"""collect: a source -> raw/: a table of examples, media files by their hash, and a manifest.

One row an example, whatever it is; rows that cannot be read stay, with their fault, for validate to judge. The same
source gives the same bytes, and when nothing changed the files that are there are not touched.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from core.addresses import recorded
from core.atomic_files import replacing
from core.errors import BadData, BadRequest
from core.manifest import damage, earlier_manifest, read_manifest, write_manifest
from core.progress import Progress
from core.schema.columns import ADDED, CONTENT_HASH, DOCUMENTS, FAULT, PLACE, ROW_ID, Contract
from core.schema.data import Data, SplitSource, SqlSource
from core.tables.row_groups import batches
from core.tables.tombstones import DOCUMENT_NAMES, KEY, Forgotten, as_locked
from core.workspace import Job
from pipelines.collect.spool import Sample, Seen, Spool
from pipelines.media.media_files import keep
from pipelines.sources import Identity, find_source
from pipelines.sources._examples import Example, Shape
from pipelines.sources._files import Files, Record, Table
from pipelines.sources.readers import reader_file, tables

EXAMPLES = "examples.parquet"
_FORGOTTEN = "forgotten"  # the rule by which rows are left out that `headrace forget` took out
_SHOWN_ROWS = 500  # between two looks at the progress


@dataclass
class Counts:
    """Rows: read from the source, left by `where`, kept by `sample`, and how many of these have a fault.

    left_out: those that are not kept, by the rule. read is kept and left out together.
    """

    read: int = 0
    wanted: int = 0
    kept: int = 0
    faults: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass
class Collected:
    """What one pass over a source's tables has found so far."""

    counts: Counts = field(default_factory=Counts)
    columns: dict[str, None] = field(default_factory=dict)  # of the source, in order
    first_fault: str | None = None
    more_frames: int = 0  # pictures that are animated, of which the first frame is read
    notes: list[str] = field(default_factory=list)  # what the readers say of how they read


class _Unchanged(Exception):
    """The new folder equals the old one."""


def collect(tables: Iterable[Table], shape: Shape, folder: Path, gone: Forgotten | None = None) -> Collected:
    """Write examples.parquet and media/ into folder. gone: the rows to leave out.

    Raises BadRequest for a missing column, BadData when no row is left.
    """
    found, sample = Collected(), Sample(shape.data.sample)
    with TemporaryDirectory(dir=folder, prefix=".parts", ignore_cleanup_errors=True) as work:
        spool, seen = Spool(Path(work), _columns(shape)), Seen(Path(work, "seen.sqlite"))
        for sequence, example in enumerate(_examples(tables, shape, found)):
            if gone is not None and gone.any_of(_names(example, shape)):
                found.counts.left_out[_FORGOTTEN] += 1
                continue
            taken = sample.takes(example.content_hash, sequence)
            if taken or shape.data.id is not None:  # an id may stand twice though one of the two is not in the sample
                row_id, fault = _row_id(example, seen, explicit=shape.data.id)
            if taken:
                added = {ROW_ID: row_id, CONTENT_HASH: example.content_hash, PLACE: example.place, FAULT: fault}
                spool.add({**added, **example.values}, sequence, example.media)
        seen.close()

        def settle(row: Mapping[str, Any], media: Path | bytes) -> dict[str, Any]:
            made = keep(media, row[CONTENT_HASH], folder, holds=shape.contract.media)
            found.more_frames += made.more_frames
            return {str(shape.contract.file): made.path, **made.measures, FAULT: row[FAULT] or made.fault}

        found.counts.kept = spool.write(folder / EXAMPLES, sample.kept(), settle)
    counts = found.counts
    if beyond := counts.wanted - counts.left_out[_FORGOTTEN] - counts.kept:
        counts.left_out["sample"] = beyond
    found.counts.faults = _faults(folder / EXAMPLES)
    return found


def _columns(shape: Shape) -> dict[str, str | None]:
    """The columns that every such table starts with, and the types of those whose type does not depend on the rows."""
    types = {name: "double" if column.kind == "number" else "string" for name, column in shape.contract.columns.items()}
    types |= {**dict.fromkeys(ADDED, "string"), **shape.contract.measured}
    return {name: types.get(name) for name in shape.first}


def _examples(tables: Iterable[Table], shape: Shape, found: Collected) -> Iterator[Example]:
    names: list[str] = []
    for table in tables:
        names.append(table.name)
        if table.columns is not None:
            shape.check(table.columns, table.name)
            found.columns.update(dict.fromkeys(table.columns))
        for record in _counted(table, found):
            if shape.wanted(record):
                found.counts.wanted += 1
                yield shape.example(record)
            else:
                found.counts.left_out["where"] += 1
        found.notes += table.notes
    if not found.counts.wanted and not found.counts.left_out["where"]:
        raise BadData(f"{', '.join(names[:3]) or shape.data.source}: no rows.")
    if not found.columns:
        raise BadRequest(f"none of the {found.counts.read:,} rows can be read; {found.first_fault}.")
    shape.check(list(found.columns), ", ".join(names[:3]))
    if not found.counts.wanted:
        raise BadData(f"`where` {shape.data.where} keeps none of the {found.counts.read:,} rows of {names[0]}.")


def _counted(table: Table, found: Collected) -> Iterator[Record]:
    """The rows of a table as they go by; what only they can tell is noted."""
    with Progress(f"collect {table.name}", total=None, unit="rows") as progress:
        for record in table.records:
            found.counts.read += 1
            if found.counts.read % _SHOWN_ROWS == 0:
                progress.advance(_SHOWN_ROWS)
            if record.left_out:
                found.counts.left_out[record.left_out] += 1
                continue
            if table.columns is None:
                found.columns.update(dict.fromkeys(record.values))
            if record.fault and found.first_fault is None:
                found.first_fault = f"{record.place}: {record.fault}"
            yield record


def _row_id(example: Example, seen: Seen, *, explicit: str | None) -> tuple[str, str | None]:
    """A unique and stable name of the row, and its fault, to which a missing or repeated id belongs."""
    fault = example.fault
    if explicit is not None and example.id is not None:
        times, first = seen.add(f"id {example.id}", example.place)
        if times == 1:
            return example.id, fault
        fault = fault or f"{explicit}: {example.id!r} stands at {first} already"
    elif explicit is not None:
        fault = fault or f"{explicit}: no id"
    times, _ = seen.add(example.content_hash, example.place)
    return example.content_hash if times == 1 else f"{example.content_hash}-{times}", fault


def _names(example: Example, shape: Shape) -> list[str | None]:
    """By what a row may have been forgotten: its id, its content, the name that passages of a document have."""
    document = DOCUMENT_NAMES if shape.contract == DOCUMENTS else ()
    return [example.id, example.content_hash, *(example.values.get(name) for name in document)]


def _faults(examples: Path) -> int:
    faults = (batch.column(0) for batch in batches(pq.ParquetFile(examples), columns=[FAULT]))
    return sum(len(column) - column.null_count for column in faults)


def run(job: Job) -> None:
    """Read the source of a recipe or an index into raw/."""
    data, contract = job.section("data", Data), job.section("examples", Contract)
    source, root = find_source(data.source), job.workspace.root
    locked: Identity = job.settings["source"]
    gone = as_locked(job, locked.get(KEY))
    locked = {key: value for key, value in locked.items() if key != KEY}
    _same_source(source.identify(data, root), locked, job)
    fetched = source.fetch(data, root, downloads=job.workspace.var / "downloads", identity=locked)
    with suppress(_Unchanged), replacing(job.folder / "raw") as folder:
        rows, shape, facts = opened(fetched, data, contract, root)
        found = collect(rows, shape, folder, gone)
        write_manifest(
            folder,
            {
                **facts,
                "source": _recorded(data.source),
                "identity": job.settings["source"],
                "licence": data.licence,
                "counts": {**vars(found.counts), "left_out": dict(found.counts.left_out)},
                "columns": list(found.columns),
                "notes": found.notes,
                **({"more_frames": found.more_frames} if found.more_frames else {}),
                **({"set_aside": aside} if (aside := shape.set_aside(found.columns)) else {}),
                **({"forgotten": found.counts.left_out[_FORGOTTEN]} if gone.marks else {}),
            },
        )
        _tell(found, aside)
        if earlier_manifest(job.folder / "raw") == read_manifest(folder) and damage(job.folder / "raw") is None:
            raise _Unchanged


def opened(
    fetched: Files | Table, data: Data, contract: Contract, root: Path
) -> tuple[Iterable[Table], Shape, dict[str, Any]]:
    """The tables of what a source fetched, how their rows become examples, and what the manifest says of the files."""
    if not isinstance(fetched, Files):
        return [fetched], Shape(contract, data, root), {"reader": None, "checksums": {}}
    reader = reader_file(data.source, data.reader)
    assert reader is not None  # of a source that fetches files
    sha256, count = fetched.checksum()
    facts = {"reader": reader.stem, "checksums": {"files": count, "sha256": sha256}}
    return tables(reader, fetched, data=data, contract=contract), Shape(contract, data, fetched.folder), facts


def _tell(found: Collected, aside: Mapping[str, str]) -> None:
    """What was read and what was not, for a person."""
    counts, rules = found.counts, ", ".join(f"{rule} {count:,}" for rule, count in found.counts.left_out.items())
    left_out = f"; {counts.left_out.total():,} left out ({rules})" if rules else ""
    bad = f", {counts.faults:,} of them with a fault" if counts.faults else ""
    lines = [*found.notes, f"collect: {counts.read:,} rows read, {counts.kept:,} kept{bad}{left_out}"]
    if aside:
        told = ", ".join(f"{name} as {other}" for name, other in aside.items())
        lines.append(f"columns of the source whose names are taken: {told}")
    if found.more_frames:
        lines.append(f"{found.more_frames:,} animated pictures: of each the first frame is read")
    print("\n".join(lines), file=sys.stderr, flush=True)


def _recorded(source: str | SqlSource | SplitSource) -> Any:
    """The source as its settings name it, without what an address should not tell."""
    if isinstance(source, SplitSource):
        return {name: recorded(address) for name, address in source.addresses.items()}
    return recorded(source) if isinstance(source, str) else source.model_dump()


def _same_source(found: Identity, locked: Identity, job: Job) -> None:
    """Raise BadRequest when the source is not the one that the lock names."""
    moved = sorted(key for key, value in found.items() if locked.get(key) != value)
    if moved:
        changes = "; ".join(f"{key} was {locked.get(key)}, is {found.get(key)}" for key in moved)
        raise BadRequest(f"{job.settings_file}: the source moved ({changes}). Run `headrace lock {job.name}`.")
