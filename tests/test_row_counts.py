"""Random tables, whole and damaged: every row of the source is kept, a duplicate, in quarantine, or left out."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.atomic_files import read_json, write_json
from core.schema.data import Data, Split
from core.schema.expectations import DataContract
from core.workspace import Job
from flows.terminal.inputs import Read, read_inputs
from flows.terminal.results import lines
from pipelines.collect import collect
from pipelines.evidence.row_counts import RowCounts, row_counts
from pipelines.preprocess.distinct_rows import write_distinct
from pipelines.preprocess.preprocess import statistics
from pipelines.validate import validate
from tests.test_collect import TEXTS, prepare

SPLIT = Split(train=0.6, validation=0.2, test=0.2)
Row = tuple[str, str, str]

WORDS = st.sampled_from(
    ["saucer", "wil low", "1e5", "00123", "Ärger", "日本", 'an "inch"', "a, b", "x;y", "p|q", "NA", "#1"]
)
TEXT = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
TABLE = st.lists(
    st.tuples(TEXT, st.sampled_from(["ask", "buy"]), st.sampled_from(["", "1", "2,5"])), min_size=1, max_size=25
)
DIALECT = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from([",", ";", "\t", "|"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
    }
)
DAMAGE = st.lists(
    st.tuples(st.integers(0, 24), st.sampled_from(["open", "ragged", "short", "blank", "nul", "head"])), max_size=3
)


def as_csv(rows: Sequence[Row], *, dialect: dict[str, Any], mark: bool = False) -> list[bytes]:
    """The lines of a file, the header first."""
    told = []
    for row in [("text", "label", "n"), *rows]:
        line = io.StringIO(newline="")
        csv.writer(line, **dialect).writerow(row)
        told.append(line.getvalue().encode())
    return [b"\xef\xbb\xbf" * mark + told[0], *told[1:]]


def write(path: Path, rows: Sequence[Row], dialect: dict[str, Any], mark: bool) -> None:
    named = [dict(zip(("text", "label", "n"), row, strict=True)) for row in rows]
    if path.suffix == ".csv":
        path.write_bytes(b"".join(as_csv(rows, dialect=dialect, mark=mark)))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({**row, "meta": {}}) + "\n" for row in named))
    elif path.suffix == ".json":
        path.write_text(json.dumps(named, indent=1))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(named), path)
    else:
        book = openpyxl.Workbook()
        for row in [("text", "label", "n"), *rows]:
            book.active.append(row)
        book.save(path)


def damaged(told: list[bytes], damage: Sequence[tuple[int, str]], dialect: dict[str, Any]) -> list[bytes]:
    end, between = dialect["lineterminator"].encode(), dialect["delimiter"].encode()
    for at, kind in damage:
        at = 1 + at % len(told)
        if kind == "open" and at < len(told):
            told[at] = b'"' + told[at]
        more = {
            "ragged": between.join([b"a"] * 5),
            "short": b"alone",
            "blank": b"",
            "nul": b"\0" * 20,
            "head": told[0].rstrip(),
        }
        if kind in more:
            told.insert(at, more[kind].removeprefix(b"\xef\xbb\xbf") + end)
    return told


def collected(root: Path, name: str, **data: Any) -> tuple[Job, list[dict[str, Any]]]:
    job = prepare(root, TEXTS, source=name, **data)
    collect.run(job)
    return job, pq.read_table(job.folder / "raw/examples.parquet").to_pylist()


def adds_up(counts: RowCounts) -> bool:
    """Whether every row ended in one of the four places."""
    return counts.read == counts.kept + counts.duplicates + counts.quarantined + sum(counts.left_out.values())


@settings(max_examples=60, deadline=None)
@given(
    rows=TABLE, kind=st.sampled_from(["csv", "jsonl", "json", "parquet", "xlsx"]), dialect=DIALECT, mark=st.booleans()
)
def test_training_and_predict_read_the_rows_that_were_written(
    rows: list[Row], kind: str, dialect: dict[str, Any], mark: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"rows #1 %20?.{kind}")
        write(path, rows, dialect, mark)
        job, table = collected(Path(folder), path.name)
        assert [(row["text"], row["label"]) for row in table] == [row[:2] for row in rows]
        assert not any(row["fault"] for row in table)
        read = Read(Data(source=""), TEXTS)
        given = read_inputs([f"@{path}"], columns=["text"], media=False, stdin=io.StringIO(), trained_on=lambda: read)
        assert given == [row["text"] for row in table]
        counts = row_counts(job.folder)
        assert counts is not None and adds_up(counts) and counts.read == len(rows)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(rows=TABLE, damage=DAMAGE, dialect=DIALECT, where=st.booleans(), sample=st.sampled_from([None, 5]))
def test_every_line_of_a_damaged_file_is_counted(
    rows: list[Row], damage: list[tuple[int, str]], dialect: dict[str, Any], where: bool, sample: int | None
) -> None:
    """One row a line, so the counts of lines and of rows are one: whatever the damage, no line is swallowed."""
    opened = [kind for _, kind in damage].count("open")
    told = damaged(as_csv(rows, dialect=dialect), damage[: None if opened < 2 else 0], dialect)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "rows.csv").write_bytes(b"".join(told))
        asked = {"where": {"label": ["ask", "buy"]}} if where else {}
        job, table = collected(Path(folder), "rows.csv", sample=sample, **asked)
        counts = row_counts(job.folder)
        assert counts is not None and adds_up(counts) and counts.read == len(told) - 1, told
        whole = {row[:2] for row in rows} | {("alone", ""), ("a", "a")}
        assert {(row["text"], row["label"]) for row in table if not row["fault"]} <= whole


@settings(max_examples=5, deadline=None)
@given(rows=TABLE, damage=DAMAGE, dialect=DIALECT)
def test_the_counts_add_up_from_the_source_to_the_splits(
    rows: list[Row], damage: list[tuple[int, str]], dialect: dict[str, Any]
) -> None:
    sound = [(f"sound {number}", ("ask", "buy")[number % 2], "") for number in range(20)]
    told = damaged(as_csv([*sound, *rows, *rows[:3]], dialect=dialect), damage[:1], dialect)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "rows.csv").write_bytes(b"".join(told))
        job, _ = collected(Path(folder), "rows.csv")
        told_settings = {
            **read_json(job.folder / "settings.json"), "split": SPLIT.model_dump(mode="json"), "reference": None,
            "contract": DataContract(at_most=1.0, min_rows_per_label=1).model_dump(mode="json"),
        }  # fmt: skip
        write_json(job.folder / "settings.json", told_settings)
        validate.run(job)
        screened = row_counts(job.folder)
        prepared = job.folder / "prepared"
        prepared.mkdir()
        distinct = write_distinct(
            job.folder / "validated/examples.parquet", prepared / "rows.parquet", TEXTS, SPLIT, prepared
        )
        write_json(prepared / "statistics.json", statistics(distinct, SPLIT, lengths={}))
        counts = row_counts(job.folder)
    assert screened is not None and counts is not None and adds_up(screened) and adds_up(counts)
    assert screened.read == counts.read == len(told) - 1 and counts.kept == sum(distinct.rows.values())
    assert counts.where["duplicates"] == "prepared/statistics.json" != screened.where["duplicates"]


def test_a_person_is_told_each_count_and_where_to_look() -> None:
    where = {
        "duplicates": "prepared/statistics.json",
        "quarantined": "validated/quarantine.parquet",
        "left_out": "raw/manifest.json",
    }
    counts = RowCounts(1300, 1280, 8, 5, {"where": 4, "blank": 3}, where)
    assert adds_up(counts)
    found = {"name": "a", "kind": "recipe", "metrics": None, "report": None, "rows": counts.document()}
    assert list(lines(found))[1] == (
        "  rows      1,300 read: 1,280 kept, 8 duplicates (data/models/a/prepared/statistics.json), "
        "5 in quarantine (data/models/a/validated/quarantine.parquet), "
        "7 left out (where 4, blank 3; data/models/a/raw/manifest.json)"
    )


@pytest.mark.parametrize(
    ("counts", "left_out"), [({"read": 9, "wanted": 7, "kept": 4}, {"where": 2, "sample": 3}), ({}, None)]
)
def test_an_earlier_manifest_is_understood(
    tmp_path: Path, counts: dict[str, int], left_out: dict[str, int] | None
) -> None:
    (tmp_path / "raw").mkdir()
    write_json(tmp_path / "raw/manifest.json", {"counts": counts})
    found = row_counts(tmp_path)
    assert (None if found is None else found.left_out) == left_out
