"""A Parquet file is read some rows at a time, and no more than those are in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.tables.row_groups import batches


@pytest.mark.parametrize("group", [1, 7, 100, 1000])
@pytest.mark.parametrize("size", [1, 20, 64, 5000])
def test_every_row_comes_once_and_in_order(group: int, size: int, tmp_path: Path) -> None:
    rows = pa.table({"number": range(300), "text": [str(each) for each in range(300)]})
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=group)
    found = list(batches(pq.ParquetFile(tmp_path / "rows.parquet"), size, ["text"]))
    assert [text for batch in found for text in batch["text"].to_pylist()] == rows["text"].to_pylist()
    assert max(map(len, found)) <= size
    assert found[0].schema.names == ["text"]


def test_a_table_without_rows_has_no_batch(tmp_path: Path) -> None:
    pq.write_table(pa.table({"number": pa.array([], pa.int64())}), tmp_path / "rows.parquet")
    assert not list(batches(pq.ParquetFile(tmp_path / "rows.parquet")))


def test_what_was_read_does_not_stay_in_memory(tmp_path: Path) -> None:
    numbers = np.random.default_rng(1).integers(0, 2**62, 1_000_000)
    pq.write_table(pa.table({"number": numbers}), tmp_path / "rows.parquet", row_group_size=10_000)
    before, most = pa.total_allocated_bytes(), 0
    for _ in batches(pq.ParquetFile(tmp_path / "rows.parquet"), 10_000):
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < numbers.nbytes / 5
