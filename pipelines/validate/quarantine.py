"""Reading a table of examples a batch at a time, and writing it again as clean rows and quarantine."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import BadData
from core.schema.columns import ADDED, PLACE, Contract, set_aside
from core.tables.keys import Mask
from core.tables.row_groups import batches
from pipelines.expectations.rules import Check, Tally

REASON = "reason"  # a column of quarantine.parquet beside those of the examples
BATCH_ROWS = 20_000  # some tens of MB of texts at a time


def numbered(path: Path) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of rows, each with the position of its first."""
    start = 0
    with pq.ParquetFile(path) as file:
        for batch in batches(file, BATCH_ROWS):
            yield start, batch
            start += len(batch)


def check_schema(path: Path, examples: Contract) -> list[str]:
    """The columns of a table of examples.

    Raises BadData when one that the contract requires is missing, or any of them has another type.
    """
    schema = pq.read_schema(path)
    if not pq.read_metadata(path).num_rows:
        raise BadData(f"{path}: the table of examples has no rows. Widen the source, or `data.where`.")
    wrong = [f"the column {name!r} is missing" for name in ADDED if name not in schema.names]
    for name, column in examples.columns.items():
        if name not in schema.names:
            if column.required:
                wrong.append(f"the column {name!r} is missing; it has {', '.join(schema.names)}")
            continue
        kind = schema.field(name).type
        string = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        if not pa.types.is_null(kind) and not (number if column.kind == "number" else string):
            wanted = "numbers" if column.kind == "number" else "text"
            wrong.append(f"the column {name!r} must hold {wanted} ({column.kind}), got {kind}")
    if wrong:
        raise BadData(f"{path}: " + "; ".join(wrong) + ". Name the right columns under `data.columns`.")
    return list(schema.names)


def write_screened(
    raw: Path, folder: Path, checks: Sequence[Check], clean: Mask, *, wanted: Collection[int], keep_clean: bool
) -> tuple[Tally, dict[int, str]]:
    """Write quarantine.parquet with the reason of each bad row and, with keep_clean, examples.parquet.

    Returns what was seen of the bad rows, and the places of the wanted positions.
    """
    reasons = _by_row(checks)
    tally, places = Tally(), {}
    schema = pq.read_schema(raw).remove_metadata()
    names = [set_aside(name, (REASON,)) for name in schema.names]
    told_schema = pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
    told_schema = told_schema.append(pa.field(REASON, pa.string()))
    with pq.ParquetWriter(folder / "quarantine.parquet", told_schema) as bad:
        good = pq.ParquetWriter(folder / "examples.parquet", schema) if keep_clean else None
        for start, batch in numbered(raw):
            kept = clean[start : start + len(batch)]
            rest = batch.filter(pa.array(~kept)).replace_schema_metadata(None)
            if len(rest):
                positions = [start + int(at) for at in (~kept).nonzero()[0]]
                told = [_told(row, reasons[at], tally) for row, at in zip(rest.to_pylist(), positions, strict=True)]
                bad.write_batch(pa.record_batch([*rest.columns, pa.array(told, pa.string())], schema=told_schema))
            if good is not None and kept.any():
                good.write_batch(batch.filter(pa.array(kept)).replace_schema_metadata(None))
            for at in wanted:
                if start <= at < start + len(batch):
                    places[at] = str(batch.column(PLACE)[at - start].as_py())
        if good is not None:
            good.close()
    return tally, places


def _by_row(checks: Sequence[Check]) -> dict[int, list[Check]]:
    found: dict[int, list[Check]] = {}
    for check in checks:
        if not check.keeps:
            for row in check.rows.tolist():
                found.setdefault(row, []).append(check)
    return found


def _told(row: dict[str, Any], checks: Sequence[Check], tally: Tally) -> str:
    for check in checks:
        tally.add(check, row)
    return "; ".join(check.reason(row) for check in checks)
