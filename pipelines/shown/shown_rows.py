"""Rows as they were read, and rows that were refused, from what `validate` and the stages after it left."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.atomic_files import said_in
from core.errors import BadRequest
from core.schema.columns import PLACE, ROW_ID, Contract
from core.tables.prepared import SIDE, STATISTICS, rows_named
from core.tables.row_groups import batches
from core.workspace import Job

_REASON = "reason"  # column of both quarantines
_MANY = 20  # reasons that are told apart by the values in them
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


@dataclass(frozen=True)
class ShownRow:
    """A row. place: where it stood. cells: the columns of its contract. split, reason: where there is one."""

    row_id: str
    place: str
    cells: Mapping[str, Any]
    split: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Shown:
    """The first of `total` rows. counts: of all of them, by split or by reason. files: that they were read from."""

    rows: Sequence[ShownRow]
    total: int
    files: Sequence[Path]
    counts: Mapping[str, int] = field(default_factory=dict)


def as_read(job: Job, most: int) -> Shown:
    """The first rows that passed, with the split of those that `preprocess` has seen.

    Raises BadRequest before there are any, with the command that makes them.
    """
    file = job.folder / "validated" / "examples.parquet"
    if not file.is_file():
        if _rejected(job).is_file():
            raise BadRequest(f"{job.name}: its rows were refused. `headrace show {job.name} --quarantine` says why.")
        raise BadRequest(f"{job.name} has no rows yet. `headrace {making(job)}` reads them.")
    found, prepared = _first(file, job.section("examples", Contract).columns, most), job.folder / "prepared"
    sides = {row[ROW_ID]: row[SIDE] for row in rows_named(prepared, [row.row_id for row in found], [SIDE])}
    rows = [ShownRow(row.row_id, row.place, row.cells, split=sides.get(row.row_id)) for row in found]
    return Shown(rows, _count(file), [file], said_in(prepared / STATISTICS).get("rows", {}))


def refused(job: Job, most: int) -> Shown:
    """The first rows that were set aside, each with its reason; those that made the last `validate` stop, if it did.

    Of an index also the documents that nobody may read. Raises BadRequest before `validate` has looked at any.
    """
    stopped, validated = _rejected(job), job.folder / "validated" / "quarantine.parquet"
    file = stopped if stopped.is_file() else validated
    if not file.is_file():
        raise BadRequest(f"{job.name} has no rows yet, refused or not. `headrace {making(job)}` reads them.")
    files = [file, *([nobodys] if (nobodys := job.folder / "chunks" / "quarantine.parquet").is_file() else [])]
    columns = job.section("examples", Contract).columns
    rows = [row for each in files for row in _first(each, columns, most)][:most]
    told = (pq.read_table(each, columns=[_REASON])[_REASON].to_pylist() for each in files)
    reasons = Counter(reason for each in told for reason in each)
    return Shown(rows, reasons.total(), files, dict(_grouped(reasons).most_common()))


def making(job: Job) -> str:
    """The words after `headrace` that bring a recipe or an index up to date."""
    return f"{'run' if job.kind == 'recipe' else 'index'} {job.name}"


def _rejected(job: Job) -> Path:
    """The rows that made `validate` stop; a run that ends well takes them away."""
    return job.workspace.var / "rejected" / f"{job.kind}-{job.name}" / "quarantine.parquet"


def _first(file: Path, columns: Collection[str], most: int) -> list[ShownRow]:
    """The first rows of a table. A document that nobody may read has `document` for an id."""
    source = pq.ParquetFile(file)
    there = source.schema_arrow.names
    named = ROW_ID if ROW_ID in there else "document"
    cells = [name for name in columns if name in there]
    wanted = [named, PLACE, *cells, *([_REASON] if _REASON in there else [])]
    first = next(batches(source, max(most, 1), list(dict.fromkeys(wanted))), None)
    rows = first.to_pylist()[:most] if first is not None else []
    return [
        ShownRow(
            str(row[named]), str(row[PLACE]), {name: row[name] for name in cells},
            reason=row[_REASON] if _REASON in there and _REASON not in cells else None,
        )
        for row in rows
    ]  # fmt: skip


def _grouped(reasons: Counter[str]) -> Counter[str]:
    """How often each reason is given; of more than _MANY, those that differ in quoted values alone are one."""
    if len(reasons) <= _MANY:
        return reasons
    found = Counter[str]()
    for reason, times in reasons.items():
        found[_QUOTED.sub("...", reason)] += times
    return found


def _count(file: Path) -> int:
    return int(pq.read_metadata(file).num_rows)
