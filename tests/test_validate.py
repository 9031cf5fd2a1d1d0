"""validate, on raw/ as collect leaves it: what is set aside, what stops the graph, and what is said about it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lxml.html
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from core.atomic_files import write_json
from core.errors import BadData, BadRequest
from core.manifest import write_manifest
from core.schema.columns import DOCUMENTS, Column, Contract
from core.schema.data import Split
from core.schema.expectations import DataContract
from core.splits.split import side
from core.tables.keys import text_key
from core.workspace import Job, Kind, Workspace
from pipelines.validate.drift import make_profile
from pipelines.validate.validate import run
from tests.warm import warm

ROOT = Path(__file__).parents[1]
TEXTS = Contract(columns={"text": Column("text"), "label": Column("category")}, inputs=("text",), targets=("label",))
SPLIT = Split(train=0.6, validation=0.2, test=0.2)
Row = dict[str, Any]


def rows(count: int = 120) -> list[Row]:
    return [{"text": f"Review {i} of a film.", "label": ("pos", "neg")[i % 2]} for i in range(count)]


@dataclass(frozen=True)
class Stage:
    """A workspace with one recipe, or index, whose raw/ a test writes."""

    root: Path
    kind: Kind = "recipe"

    @property
    def job(self) -> Job:
        return Workspace(self.root).job(self.kind, "tickets")

    @property
    def folder(self) -> Path:
        return self.job.folder / "validated"

    @property
    def rejected(self) -> Path:
        return self.root / "var" / "rejected" / f"{self.kind}-tickets"

    def settings(self, *, contract: Row | None = None, split: Split = SPLIT, reference: Any = None,
                 examples: Contract = TEXTS) -> None:  # fmt: skip
        document = {
            "examples": TypeAdapter(Contract).dump_python(examples, mode="json"),
            "contract": DataContract(**(contract or {})).model_dump(mode="json"),
            "reference": reference,
        }
        if self.kind == "recipe":
            document |= {"task": "text_classification", "split": split.model_dump(mode="json")}
        write_json(self.job.folder / "settings.json", document)

    def raw(self, table: Sequence[Row]) -> None:
        frame = pd.DataFrame(
            [
                {
                    "row_id": hashlib.sha256(str(row.get("text")).encode()).hexdigest()[:12] + f"-{i}",
                    "content_hash": hashlib.sha256(str(row.get("text")).encode()).hexdigest(),
                    "place": f"tickets.csv:{i + 2}",
                    "fault": None,
                    **row,
                }
                for i, row in enumerate(table)
            ]
        )
        self.job.folder.joinpath("raw").mkdir(parents=True, exist_ok=True)
        schema = pa.Schema.from_pandas(frame, preserve_index=False).remove_metadata()
        for name in ("row_id", "content_hash", "place", "fault", "text", "label"):
            if name in schema.names:
                schema = schema.set(schema.get_field_index(name), pa.field(name, pa.string()))
        pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False), self.raw_file)
        write_manifest(self.raw_file.parent, {})

    @property
    def raw_file(self) -> Path:
        return self.job.folder / "raw" / "examples.parquet"

    def run(self, table: Sequence[Row], **settings: Any) -> Row:
        """Run the stage in this process; returns its report."""
        self.settings(**settings)
        self.raw(table)
        run(self.job)
        return self.report(self.folder)

    def stops(self, table: Sequence[Row], match: str, **settings: Any) -> Row:
        """It stops with exit code 3, leaves the earlier outputs alone, and goes well again without cleaning."""
        self.run(rows())
        before = hashes(self.folder)
        with pytest.raises(BadData, match=match) as caught:
            self.run(table, **settings)
        assert caught.value.exit_code == 3
        assert str(caught.value).startswith("recipes/tickets.yaml: ")
        assert "var/rejected/recipe-tickets/quarantine.parquet" in str(caught.value)
        assert hashes(self.folder) == before
        report = self.report(self.rejected)
        assert report["problems"] and not report["passed"]
        self.run(rows())
        assert not self.rejected.exists()
        return report

    def report(self, folder: Path) -> Row:
        report: Row = json.loads((folder / "report.json").read_text())
        return report

    def quarantine(self, folder: Path | None = None) -> pd.DataFrame:
        return pd.read_parquet((folder or self.folder) / "quarantine.parquet")

    def clean(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "examples.parquet")


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).touch()
    return Stage(tmp_path)


def command(stage: Stage) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines.validate", "tickets", *(["--index"] if stage.kind == "index" else [])],
        cwd=stage.root, env=warm({**os.environ, "PYTHONPATH": str(ROOT)}), capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def one_bad(row: Row) -> list[Row]:
    return [*rows(), row]


# --- what is set aside -----------------------------------------------------------------------------------------------


def test_good_rows_pass_unchanged(stage: Stage) -> None:
    report = stage.run([{**row, "source": "desk"} for row in rows()])
    assert report["passed"] and report["clean"] == 120 and report["quarantined"] == 0
    assert report["labels"] == {"neg": 60, "pos": 60}
    assert "no reference profile" in report["drift"]["skipped"]
    assert pq.read_table(stage.folder / "examples.parquet") == pq.read_table(stage.raw_file).replace_schema_metadata()
    assert len(stage.quarantine()) == 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"text": None, "label": "pos"}, "text is missing"),
        ({"text": "", "label": "pos"}, "text '' is empty or white space only"),
        ({"text": " \t\u00a0\n", "label": "pos"}, "is empty or white space only"),
        ({"text": "Fine.", "label": None}, "label is missing"),
        ({"text": "Fine.", "label": " "}, "label ' ' is empty or white space only"),
        ({"text": None, "label": None, "fault": "byte 0xe9 is not UTF-8"}, "cannot be read: 'byte 0xe9 is not UTF-8'"),
        ({"text": "Half", "label": "pos", "fault": "3 cells, 2 expected"}, "cannot be read: '3 cells, 2 expected'"),
    ],
)
def test_a_bad_row_is_set_aside_with_its_reason(stage: Stage, bad: Row, reason: str) -> None:
    report = stage.run(one_bad(bad))
    assert (report["rows"], report["clean"], report["quarantined"]) == (121, 120, 1)
    (row,) = stage.quarantine().to_dict("records")
    assert reason in row["reason"] and row["place"] == "tickets.csv:122"
    if bad.get("fault"):
        assert row["reason"].count("cannot be read") == 1 and ";" not in row["reason"]
    assert "tickets.csv:122" not in set(stage.clean()["place"])


def test_missing_and_endless_numbers(stage: Stage) -> None:
    prices = Contract(columns={"text": Column("text"), "price": Column("number")}, inputs=("text",))
    table = [{"text": f"Thing {i}.", "price": float(i)} for i in range(300)]
    table += [{"text": "A", "price": float("nan")}, {"text": "B", "price": float("inf")}]
    stage.run(table, examples=prices, contract={"at_most": 0.1})
    reasons = dict(zip(stage.quarantine()["text"], stage.quarantine()["reason"], strict=True))
    assert reasons == {"A": "price is missing", "B": "price inf is not a finite number"}


def test_labels_outside_the_set(stage: Stage) -> None:
    contract = {"labels": ["neg", "pos"], "at_most": 0.05}
    report = stage.run([*rows(), *({"text": f"Odd {i}.", "label": "nge"} for i in range(3))], contract=contract)
    assert report["quarantined"] == 3
    assert set(stage.quarantine()["reason"]) == {"label 'nge' is not allowed (allowed: neg, pos)"}


def test_the_same_content_under_two_labels(stage: Stage) -> None:
    table = [*rows(), {"text": "REVIEW 4  of a film.", "label": "neg"}]
    stage.run(table, contract={"at_most": 0.05})
    assert sorted(stage.quarantine()["text"]) == ["REVIEW 4  of a film.", "Review 4 of a film."]
    assert set(stage.quarantine()["reason"]) == {
        "contradiction: the same content has another label too, here it is 'pos'",
        "contradiction: the same content has another label too, here it is 'neg'",
    }


def test_a_row_with_a_label_that_is_not_allowed_contradicts_nothing(stage: Stage) -> None:
    table = [*rows(), {"text": "Review 4 of a film.", "label": "hihg"}]
    report = stage.run(table, contract={"labels": ["neg", "pos"]})
    assert report["quarantined"] == 1 and list(stage.quarantine()["label"]) == ["hihg"]


def test_duplicates_are_counted_and_stay(stage: Stage) -> None:
    report = stage.run([*rows(), {"text": "review 4 of a FILM.", "label": "pos"}])
    assert report["duplicates"] == 1 and report["quarantined"] == 0 and len(stage.clean()) == 121


def near_copies(text: str, *sides: str) -> list[str]:
    """Variants of a text, the same but for punctuation, one for each of these sides of the split."""
    variants = [text + "." * dots for dots in range(60)]
    return [next(one for one in variants if side(text_key(one), SPLIT) == wanted) for wanted in sides]


@pytest.mark.parametrize("other", ["train", "validation"])
def test_near_copies_of_test_rows_leave_the_other_splits(stage: Stage, other: str) -> None:
    text = "It is a film like no other"
    table = [*rows(), *({"text": t, "label": "pos"} for t in near_copies(text, other, "test"))]
    stage.run(table)
    (row,) = stage.quarantine().to_dict("records")
    assert row["reason"].startswith("leakage: ") and "stands in the test split too" in row["reason"]
    assert side(text_key(row["text"]), SPLIT) == other
    (kept,) = (t for t in stage.clean()["text"] if t.startswith(text))
    assert side(text_key(kept), SPLIT) == "test"


def test_groups_decide_the_side_and_so_what_leaks(stage: Stage) -> None:
    split = SPLIT.model_copy(update={"group_by": "author"})
    authors = {side(f"group:{name}", split): name for name in map(str, range(50))}
    table = [{**row, "author": authors["train"]} for row in rows()]
    table.append({"text": "Review 4 of a film.", "label": "pos", "author": authors["test"]})
    stage.run(table, split=split)
    assert list(stage.quarantine()["text"]) == ["Review 4 of a film."]
    assert list(stage.quarantine()["author"]) == [authors["train"]]


def test_a_published_test_stays_as_it_is(stage: Stage) -> None:
    """What others say of its texts takes none of its rows; a copy to the letter is left for preprocess to drop."""
    table = [{**row, "part": ("train", "dev", "test")[i % 3]} for i, row in enumerate(rows())]
    copies: list[Row] = [
        {"text": "review 2 of a FILM.", "label": "neg", "part": "train"},
        {"text": "Review 2 of a film!", "label": "pos", "part": "train"},
        {"text": "Review 4 of a film.", "label": "neg", "part": "train"},
        {"text": "unknown", "label": "pos", "part": None},
    ]
    report = stage.run([*table, *copies], split=Split(given="part"), contract={"at_most": 0.05})
    told = stage.quarantine().set_index("place")["reason"].to_dict()
    assert {place: reason.split(":")[0].split(" ")[0] for place, reason in told.items()} == {
        "tickets.csv:6": "contradiction", "tickets.csv:123": "leakage", "tickets.csv:124": "contradiction",
        "tickets.csv:125": "part,",
    }  # fmt: skip
    assert told["tickets.csv:125"] == "part, its split, is missing"
    assert report["duplicates"] == 1


def test_spans_are_measured_by_their_number(stage: Stage) -> None:
    spans = Contract({"text": Column("text"), "spans": Column("spans")}, inputs=("text",), targets=("spans",))
    table = [{"text": f"Ann {i}", "spans": '[{"start":0,"end":3,"label":"per"}]' if i % 2 else "[]"} for i in range(20)]
    faulty = {"text": "Bo", "spans": "[nonsense", "fault": "spans: not JSON"}
    stage.run([*table, faulty, {"text": "Cy", "spans": None}], examples=spans, contract={"at_most": 0.1})
    assert sorted(stage.quarantine()["reason"]) == ["cannot be read: 'spans: not JSON'", "spans is missing"]
    profile = json.loads((stage.folder / "profile.json").read_text())
    assert profile["numbers"]["number of spans"] == {"edges": [0.0, 1.0], "cumulative": [0.5, 1.0]}


def test_texts_without_a_letter_are_not_all_the_same(stage: Stage) -> None:
    table = [*rows(), *({"text": sign * 3, "label": "pos"} for sign in "!?*+~#%&$§")]
    assert stage.run(table)["quarantined"] == 0


def test_own_expectations_row_by_row_and_over_all_rows(stage: Stage) -> None:
    expectations = [
        {"expect_column_value_lengths_to_be_between": {"column": "text", "min_value": 5, "max_value": 100}},
        {"expect_table_row_count_to_be_between": {"min_value": 100}},
        {"expect_column_values_to_be_unique": {"column": "row_id"}},
        {"expect_table_columns_to_match_set": {"column_set": ["text", "label"]}},
    ]
    report = stage.run(one_bad({"text": "Bad.", "label": "pos"}), contract={"expectations": expectations})
    assert list(stage.quarantine()["reason"]) == [
        "text 'Bad.' breaks expect_column_value_lengths_to_be_between(column='text', max_value=100, min_value=5)"
    ]
    named = {check["check"]: check for check in report["checks"]}
    assert named["expect_table_row_count_to_be_between"]["observed"] == {"observed_value": 121}
    (example,) = named["expect_column_value_lengths_to_be_between"]["examples"]
    assert example["place"] == "tickets.csv:122" and example["value"] == "'Bad.'"


def test_uniqueness_is_looked_for_across_batches(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.validate.quarantine.BATCH_ROWS", 50)
    unique = {"expect_column_values_to_be_unique": {"column": "ticket"}}
    table = [{**row, "ticket": f"T{i % 119}"} for i, row in enumerate(rows())]
    report = stage.run(table, contract={"expectations": [unique], "at_most": 0.05})
    assert list(stage.quarantine()["place"]) == ["tickets.csv:2", "tickets.csv:121"]
    assert report["quarantined"] == 2


@pytest.mark.slow
def test_batches_change_nothing(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = {"at_most": 0.5, "labels": ["neg", "pos"]}
    table = [*rows(), {"text": "", "label": "x"}, {"text": "Review 4 of a film.", "label": "neg"}]
    whole = stage.run(table, contract=contract)
    monkeypatch.setattr("pipelines.validate.quarantine.BATCH_ROWS", 7)
    assert stage.run(table, contract=contract) == whole


def test_mostly_is_a_share_of_all_rows_and_what_it_allows_stays(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.validate.quarantine.BATCH_ROWS", 50)
    rule = {"column": "text", "min_value": 5, "max_value": 100, "mostly": 0.9}
    expectations = [{"expect_column_value_lengths_to_be_between": rule}]
    report = stage.run(
        [*({"text": f"b{i}", "label": "pos"} for i in range(9)), *rows()], contract={"expectations": expectations}
    )
    assert report["quarantined"] == 0
    (check,) = (check for check in report["checks"] if "lengths" in check["check"])
    assert check["rows"] == 9 and check["kept"] and check["passed"]


# --- what stops the graph --------------------------------------------------------------------------------------------


def test_a_label_seen_once(stage: Stage) -> None:
    message = (
        r"label 'poss' on 1 of 121 rows \(first: tickets.csv:122\), `min_rows_per_label` asks for 10. "
        r"Did you mean 'pos'\? Labels with enough rows: neg, pos"
    )
    report = stage.stops(one_bad({"text": "Odd.", "label": "poss"}), message)
    assert report["scarce_labels"] == {"poss": 1}


def test_rows_of_a_label_count_once_a_content(stage: Stage) -> None:
    copies = [{"text": "The one ticket" + " " * i, "label": "rare"} for i in range(20)]
    stage.stops([*rows(), *copies], "label 'rare' on 1 of 140 rows")


def test_no_row_left(stage: Stage) -> None:
    blank = [{**row, "text": " "} for row in rows()]
    report = stage.stops(
        blank, r"none of 120 rows is left:\n +text is empty .* on 120 of 120 rows", contract={"at_most": 1.0}
    )
    assert report["clean"] == 0
    assert not (stage.rejected / "examples.parquet").exists()


def test_more_bad_rows_than_at_most_names_the_commonest_reasons_first(stage: Stage) -> None:
    table = rows(1197) + [{"text": f"Odd {i}.", "label": "hihg"} for i in range(3)] + [{"text": "", "label": "pos"}]
    stage.settings(contract={"labels": ["neg", "pos"], "at_most": 0.001})
    message = (
        r"4 of 1,201 rows \(0.3%\) are bad, `at_most` allows 0.1%:\n"
        r" +label 'hihg' is not allowed \(allowed: neg, pos\) on 3 of 1,201 rows "
        r"\(first: 'hihg' at tickets.csv:1199\)\n"
        r" +text is empty or white space only on 1 of 1,201 rows \(first: '' at tickets.csv:1202\)"
    )
    stage.stops(table, message, contract={"labels": ["neg", "pos"], "at_most": 0.001})


def test_rows_in_a_wrong_encoding_below_and_above_at_most(stage: Stage) -> None:
    faulty = [{"text": None, "label": "pos", "fault": f"byte 0xe9 at {i} is not UTF-8"} for i in range(4)]
    assert stage.run([*rows(), *faulty], contract={"at_most": 0.05})["quarantined"] == 4
    stage.stops(
        [*rows(), *faulty], "cannot be read on 4 of 124 rows .first: 'byte 0xe9 at 0 is not UTF-8' at tickets.csv:122"
    )


def test_bad_rows_stop(stage: Stage) -> None:
    stage.stops(
        one_bad({"text": None, "label": "pos"}), "1 of 121 rows are bad, and `bad_rows: stop` allows none",
        contract={"bad_rows": "stop", "at_most": 1.0},
    )  # fmt: skip


def test_an_expectation_over_all_rows(stage: Stage) -> None:
    expectation = {"expect_column_mean_to_be_between": {"column": "length", "max_value": 10}}
    table = [{**row, "length": 20.5} for row in rows()]
    message = r"expect_column_mean_to_be_between\(column='length', max_value=10\), observed 20.5"
    stage.stops(table, message, contract={"expectations": [expectation]})
    warning = {"expect_column_mean_to_be_between": {"column": "length", "max_value": 10, "severity": "warning"}}
    assert stage.run(table, contract={"expectations": [warning]})["passed"]


@pytest.mark.slow
def test_drift_of_labels_and_lengths(stage: Stage) -> None:
    stage.run(rows())
    profile = json.loads((stage.folder / "profile.json").read_text())
    assert stage.run(rows(), reference=profile)["drift"]["distances"][0]["value"] == 0
    tilted = [{**row, "label": "pos" if i % 10 else "neg"} for i, row in enumerate(rows(200))]
    stage.stops(
        tilted, r"drift: labels moved 0.400 .*`drift` allows 0.2: share of 'neg' 0.500 -> 0.100", reference=profile
    )
    longer = [{**row, "text": row["text"] * 3} for row in rows()]
    stage.stops(longer, "drift: length of text moved 1.000 from the reference .Kolmogorov-Smirnov.", reference=profile)
    assert stage.run(tilted, reference=profile, contract={"drift": 0.5})["passed"]


def test_the_profile_is_that_of_the_clean_rows(stage: Stage) -> None:
    stage.run([{"text": "", "label": "pos"}, *rows()])
    lengths = np.array([len(row["text"]) for row in rows()], dtype=float)
    expected = make_profile(120, {"neg": 60, "pos": 60}, {"length of text": lengths})
    assert json.loads((stage.folder / "profile.json").read_text()) == expected


def test_a_column_that_raw_lacks_or_that_has_another_type(stage: Stage) -> None:
    stage.settings()
    stage.raw([{"text": "Fine.", "length": 4}])
    with pytest.raises(
        BadData, match="the column 'label' is missing; it has row_id, content_hash, place, fault, text, length"
    ):
        run(stage.job)
    prices = Contract(columns={"text": Column("text"), "price": Column("number")}, inputs=("text",))
    stage.settings(examples=prices)
    stage.raw([{"text": "Fine.", "price": "4"}])
    with pytest.raises(BadData, match=r"the column 'price' must hold numbers \(number\), got .*string"):
        run(stage.job)


def test_a_table_without_rows(stage: Stage) -> None:
    stage.settings()
    stage.raw(rows())
    pq.write_table(pq.read_table(stage.raw_file)[:0], stage.raw_file)
    write_manifest(stage.raw_file.parent, {})
    with pytest.raises(BadData, match=r"examples\.parquet: the table of examples has no rows"):
        run(stage.job)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("be_betwen", {"column": "text"}, "no such expectation. Near: expect_column_values_to_be_between"),
        ("be_in_set", {"column": "text", "values": ["a"]}, "unknown argument 'values'. Allowed: .*value_set"),
        ("be_between", {"column": "text", "mostly": 2, "max_value": 1}, "mostly: .*less than or equal to 1"),
        ("be_between", {"column": "text"}, "min_value and max_value cannot both be None"),
        ("not_be_null", {"column": "txt"}, r"no column 'txt'. Did you mean 'text'\?"),
        ("be_between", {"column": "text", "max_value": 3}, "cannot be computed by the pandas engine"),
        ("match_like_pattern", {"column": "text", "like_pattern": "a%"}, "cannot be computed by the pandas engine"),
    ],
)
def test_expectations_that_cannot_be_asked(stage: Stage, name: str, arguments: Row, message: str) -> None:
    expectation = {f"expect_column_values_to_{name}": arguments}
    with pytest.raises(BadRequest, match=f"recipes/tickets.yaml: contract.expectations.*{message}"):
        stage.run(rows(), contract={"expectations": [expectation]})
    assert not stage.folder.exists()


def test_all_wrong_expectations_are_told_at_once(stage: Stage) -> None:
    wrong = [{"expect_nothing": {}}, {"expect_column_values_to_not_be_null": {"column": "txt"}}]
    with pytest.raises(BadRequest, match=r"(?s)expectations\[0\].*expectations\[1\]"):
        stage.run(rows(), contract={"expectations": wrong})


def test_a_split_by_a_column_that_is_not_there(stage: Stage) -> None:
    with pytest.raises(BadRequest, match=r"data\.split\.stratify: the data has no column 'lable'"):
        stage.run(rows(), split=SPLIT.model_copy(update={"stratify": "lable"}))


# --- indexes, pages, bytes, the command ------------------------------------------------------------------------------


def test_an_index_has_no_task_labels_or_split(tmp_path: Path) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).touch()
    stage = Stage(tmp_path, "index")
    articles = [{"text": f"Article {i % 50}.", "title": None} for i in range(60)]
    report = stage.run([*articles, {"text": "\n", "title": None}], examples=DOCUMENTS, contract={"at_most": 0.1})
    assert (report["clean"], report["duplicates"], report["quarantined"]) == (60, 10, 1)
    assert report["labels"] is None


def mess() -> tuple[list[Row], Row]:
    table = [*rows(), {"text": "", "label": "pos"}, {"text": "Review 4 of a film.", "label": "neg"}]
    lengths = {"expect_column_value_lengths_to_be_between": {"column": "text", "min_value": 18}}
    table.append({"text": "<script>alert(1)</script>", "label": "<b>x</b>"})
    return table, {"at_most": 0.5, "labels": ["neg", "pos"], "expectations": [lengths]}


@pytest.mark.slow
def test_equal_data_give_equal_bytes_in_another_folder_and_process(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    table, contract = mess()
    stage.run(table, contract=contract)
    other = Stage(tmp_path_factory.mktemp("a longer name for the same"))
    for name in ("dvc.yaml", "params.yaml"):
        (other.root / name).touch()
    other.settings(contract=contract)
    other.raw(table)
    done = command(other)
    assert done.returncode == 0, done.stderr
    assert "in quarantine" in done.stderr and "drift not compared" in done.stderr
    assert len(hashes(stage.folder)) == 7
    assert hashes(other.folder) == hashes(stage.folder)


def test_the_data_docs_need_no_network_and_escape_what_they_show(stage: Stage) -> None:
    table, contract = mess()
    stage.run(table, contract=contract)
    for name in ("index.html", "expectations.html"):
        page = (stage.folder / "docs" / name).read_text()
        assert "http://" not in page and "https://" not in page and "<script" not in page
    page = (stage.folder / "docs" / "index.html").read_text()
    assert "values must belong to this set" in page and "&lt;b&gt;x&lt;/b&gt;" in page and "<b>x</b>" not in page


EVIL = '<svg onload="alert(1)">'


def evil_expectations() -> list[Row]:
    """The same words wherever an expectation has room for some."""
    column = {"column": "text"}
    return [
        {"expect_column_values_to_be_in_set": {**column, "value_set": [EVIL], "mostly": 0.0001, "description": EVIL}},
        {"expect_column_values_to_not_be_null": {**column, "notes": [EVIL], "meta": {EVIL: EVIL}}},
        {"expect_column_values_to_not_be_null": {**column, "meta": {"notes": {"format": "markdown", "content": EVIL}}}},
        {"expect_column_values_to_not_match_regex": {**column, "regex": EVIL + "|a<b&c"}},
        {"expect_column_values_to_not_be_null": {**column, "row_condition": f"text != '{EVIL}'"}},
        {"expect_column_values_to_match_strftime_format": {**column, "strftime_format": EVIL, "mostly": 0.0001}},
        {"expect_column_values_to_not_be_null": {"column": EVIL}},
        {"expect_column_pair_values_to_be_equal": {"column_A": EVIL, "column_B": EVIL}},
        {"expect_column_values_to_match_json_schema": {"column": "json", "json_schema": {"title": EVIL, EVIL: EVIL}}},
    ]


def test_an_expectations_own_words_are_words_in_the_data_docs(stage: Stage) -> None:
    table = [{**row, EVIL: "x", "json": "{}"} for row in rows()]
    with pytest.raises(BadData):  # no text is in that set: it stops, and the pages say why
        stage.run(table, contract={"expectations": evil_expectations(), "at_most": 0.5})
    for name in ("index.html", "expectations.html"):
        text = (stage.rejected / "docs" / name).read_text()
        tree = lxml.html.fromstring(text)
        assert not tree.xpath("//svg | //script | //iframe | //form | //*[@onload]"), name
        assert tree.text_content().count(EVIL) >= 8, name
        assert "a<b&c" in tree.text_content()  # escaped once, as it was written
        (policy,) = tree.xpath("//head/*[1][@http-equiv='Content-Security-Policy']/@content")
        assert policy.startswith("default-src 'none'; style-src 'unsafe-inline';")


@pytest.mark.slow
def test_the_command_ends_with_the_code_and_without_a_traceback(stage: Stage) -> None:
    stage.settings()
    stage.raw([*rows(), *({"text": f"Odd {i}.", "label": None} for i in range(9))])
    done = command(stage)
    assert done.returncode == 3
    assert "validate@tickets stopped (exit 3): recipes/tickets.yaml: the data breaks its contract." in done.stderr
    assert "label is missing on 9 of 129 rows" in done.stderr
    assert "Traceback" not in done.stderr and "Calculating Metrics" not in done.stderr
    assert len(stage.quarantine(stage.rejected)) == 9


def test_large_tables_are_read_in_batches(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more rows than a batch are ever handed to Great Expectations, unless a rule needs its column whole."""
    from pipelines.validate.validate import Engine

    seen: list[tuple[int, int]] = []
    look: Callable[..., None] = Engine.look

    def counted(engine: Engine, some: pd.DataFrame, outcomes: Any) -> None:
        seen.append(some.shape)
        look(engine, some, outcomes)

    monkeypatch.setattr(Engine, "look", counted)
    monkeypatch.setattr("pipelines.validate.quarantine.BATCH_ROWS", 100)
    stage.run(rows(1000))
    assert max(count for count, _ in seen) == 100 and sum(count == 100 for count, _ in seen) == 20
