"""What preprocess leaves for train and evaluate: the encoded splits, and the rows behind them.

prepared/: {train,validation,test}.arrow, rows.parquet, encoder/, statistics.json, manifest.json.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.schema.columns import CONTENT_HASH, FAULT, PLACE, ROW_ID, own_names
from core.schema.data import SplitName
from core.tables.row_groups import batches

ENCODER = "encoder"
ROWS = "rows.parquet"
STATISTICS = "statistics.json"
SIDE, KEY = "split", "key"  # columns of rows.parquet that validated/examples.parquet has not
REPLACED = (SIDE, KEY, CONTENT_HASH, PLACE, FAULT)  # which no task reads: a source's columns of these names come first


@dataclass(frozen=True)
class Rows:
    """The rows of a split in batches of `size`; every iteration begins anew."""

    prepared: Path
    split: SplitName
    size: int

    def __iter__(self) -> Iterator[pd.DataFrame]:
        waiting: list[pa.Table] = []
        for batch in batches(pq.ParquetFile(self.prepared / ROWS), self.size):
            part = pa.table(batch)
            waiting.append(part.filter(pc.equal(part[SIDE], self.split)))
            while sum(map(len, waiting)) >= self.size:
                table = pa.concat_tables(waiting)
                yield _as_named(table.slice(0, self.size)).to_pandas()
                waiting = [table.slice(self.size)]
        if sum(map(len, waiting)):
            yield _as_named(pa.concat_tables(waiting)).to_pandas()


def write_features(prepared: Path, split: SplitName, schema: pa.Schema, parts: Iterable[pa.Table]) -> None:
    """Write a split's features part by part, so that no more than one is in memory."""
    with pa.OSFile(str(_features(prepared, split)), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for part in parts:
            writer.write_table(part.cast(schema))


def read_features(prepared: Path, split: SplitName) -> pa.Table:
    """row_id and the features of a split, in the order of row_id; mapped into memory, not read."""
    return pa.ipc.open_file(pa.memory_map(str(_features(prepared, split)))).read_all()


def read_rows(prepared: Path, split: SplitName | None = None) -> pd.DataFrame:
    """The rows of a split (None: all), in the order of read_features: row_id, split, key and all source columns.

    A source's own column `split`, `key`, `place` ... stands there in place of ours.
    """
    wanted = None if split is None else [(SIDE, "=", split)]
    rows: pd.DataFrame = _as_named(pq.read_table(prepared / ROWS, filters=wanted)).to_pandas()
    return rows


def rows_named(prepared: Path, row_ids: Collection[str], columns: Collection[str]) -> list[dict[str, Any]]:
    """row_id and some columns, as far as there are, of the rows of these ids, in any split; none before preprocess."""
    file = prepared / ROWS
    if not file.is_file() or not row_ids:
        return []
    there = set(pq.read_schema(file).names)
    wanted = [ROW_ID, *(name for name in columns if name in there)]
    found: list[dict[str, Any]] = pq.read_table(
        file, columns=wanted, filters=[(ROW_ID, "in", set(row_ids))]
    ).to_pylist()
    return found


def _as_named(table: pa.Table) -> pa.Table:
    """The table with a source's columns under their own names, where only ours stood in the way."""
    own = own_names(table.column_names, REPLACED)
    hidden = [name for name in REPLACED if name in own.values()]
    return table.drop_columns(hidden).rename_columns(own) if own else table


def _features(prepared: Path, split: SplitName) -> Path:
    return prepared / f"{split}.arrow"
