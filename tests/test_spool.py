"""What collect holds on disk: counts, samples, and one schema for parts of different types."""

from __future__ import annotations

import errno
import hashlib
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.collect.spool import PART_ROWS, Sample, Seen, Spool


def test_seen_counts_and_remembers_the_first_place(tmp_path: Path) -> None:
    seen = Seen(tmp_path / "seen.sqlite")
    assert [seen.add(key, place) for key, place in [("a", "1"), ("b", "2"), ("a", "3"), ("a", "4")]] == [
        (1, "1"), (1, "2"), (2, "1"), (3, "1"),
    ]  # fmt: skip


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    seen = Seen(tmp_path / "seen.sqlite")
    seen._database.execute("PRAGMA max_page_count = 4")  # what SQLite answers then is its answer to a full disk
    with pytest.raises(OSError, match="No space left") as caught:
        [seen.add(f"key {number}", "here") for number in range(10_000)]
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("size", [1, 10, 500, 5000])
def test_a_sample_is_the_lowest_whatever_the_order(size: int) -> None:
    hashes = [hashlib.sha256(str(number % 700).encode()).hexdigest() for number in range(1000)]
    random.Random(7).shuffle(hashes)
    sample = Sample(size)
    for sequence, content_hash in enumerate(hashes):
        sample.takes(content_hash, sequence)
    assert sample.kept() == set(sorted(range(1000), key=lambda at: (hashes[at], at))[:size])


def write(folder: Path, values: list[object]) -> pa.Table:
    spool = Spool(folder, {"id": "string", "late": None})
    for number, value in enumerate(values):
        spool.add({"id": str(number), "late": value}, number)
    assert spool.write(folder / "out.parquet", None, lambda row, media: {}) == len(values)
    return pq.read_table(folder / "out.parquet")


@pytest.mark.parametrize(
    ("early", "late", "kind"),
    [
        (None, 1.5, pa.float64()), (1, 1.5, pa.float64()), (None, None, pa.string()), (1, "x", pa.string()),
        ({"a": 1}, {"b": "x"}, pa.struct({"a": pa.int64(), "b": pa.string()})), ([1], [2.5], pa.list_(pa.float64())),
    ],
)  # fmt: skip
def test_parts_of_different_types_get_one(tmp_path: Path, early: object, late: object, kind: pa.DataType) -> None:
    table = write(tmp_path, [early] * PART_ROWS + [late])
    assert table.schema.field("late").type == kind
    assert table["id"].to_pylist() == [str(number) for number in range(PART_ROWS + 1)]
    last = table["late"][-1].as_py()
    assert last == late or (isinstance(late, dict) and last == {"a": None, **late})
    first = table["late"][0].as_py()
    assert first == early or first == str(early) or (isinstance(early, dict) and first == {**early, "b": None})


def test_numbers_beyond_64_bits_become_text(tmp_path: Path) -> None:
    assert write(tmp_path, [2**70, 1])["late"].to_pylist() == [str(2**70), "1"]
