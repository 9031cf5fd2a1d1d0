"""What a label is called: one name for one value, from the source's cell to gates and answers."""

from __future__ import annotations

import json
import math
import unicodedata
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cells.spans import listed, told
from core.schema.evaluation import Gate
from core.schema.expectations import DataContract
from core.tables.keys import alike, label_name, name_among
from core.tables.predictions import Answered, write_predictions
from pipelines.evidence.comparison import Yardstick, against_champion
from pipelines.expectations.expectation_plan import plan
from pipelines.tasks import find_task
from pipelines.validate.drift import distances, make_profile
from registry.promotion.gate import Evidence, Paired, judge
from tests.test_collect import TEXTS, collected
from tests.test_validate import Stage, rows

ZERO = [0, 0.0, -0.0, "0", " 0", "0\u00a0", Decimal(0), Decimal("0.00"), Decimal("-0"), np.int8(0), np.float32(0)]
CAFE = ["café", "cafe\u0301", "café ", "\u2003café", "café\u200b", "\ufeffcafé", "café\r\n", "\u200ecafé\u200f"]


# --- the rule


@pytest.mark.parametrize("value", ZERO)
def test_zero_is_one_label_whatever_wrote_it(value: Any) -> None:
    assert label_name(value) == "0"


@pytest.mark.parametrize("value", CAFE)
def test_a_text_is_one_label_however_it_is_composed_or_padded(value: str) -> None:
    assert label_name(value) == "café"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, None),
        (math.nan, None),
        (pd.NA, None),
        (pd.NaT, None),
        (np.float64("nan"), None),
        (Decimal("NaN"), None),
        ("NA", "NA"),
        ("None", "None"),
        ("null", "null"),
        ("nan", "nan"),
        ("", ""),
        (" \u3000", ""),
        (True, "True"),
        (np.True_, "True"),
        (False, "False"),
        ("true", "true"),
        (7.5, "7.5"),
        (Decimal("7.50"), "7.5"),
        (Decimal("700"), "700"),
        (Decimal("7E+2"), "700"),
        ("7.0", "7.0"),
        ("007", "007"),
        (2**70, str(2**70)),
        (2**53 + 1, str(2**53 + 1)),
        (np.uint64(2**64 - 1), str(2**64 - 1)),
        (1e16, "10000000000000000"),
        (math.inf, "inf"),
        ("1e400", "1e400"),
        ("क्\u200d", "क्\u200d"),
        ("A b", "A b"),
        (["a"], "['a']"),
    ],
)
def test_names(value: Any, name: str | None) -> None:
    assert label_name(value) == name


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.decimals(allow_nan=False), st.none()))
def test_the_name_of_a_name_is_itself(value: Any) -> None:
    name = label_name(value)
    assert label_name(name) == name


@given(st.integers(-(2**53), 2**53))
def test_equal_numbers_have_one_name(number: int) -> None:
    assert label_name(number) == label_name(float(number)) == label_name(Decimal(number)) == str(number)


@given(st.text())
def test_compositions_of_a_text_have_one_name(text: str) -> None:
    assert len({label_name(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")}) == 1


def test_labels_that_read_alike_are_found_and_others_not() -> None:
    assert alike(["Pos", "pos", "neg", "ＰＯＳ", "New  York", "new york", "x"]) == [
        ["New  York", "new york"],
        ["Pos", "pos", "ＰＯＳ"],
    ]
    assert alike(["a", "b", "ab", "0", "00", "0.0"]) == []


# --- from the source


def test_columns_of_every_type_name_their_labels_alike(tmp_path: Path) -> None:
    """As databases and pandas write whole numbers: decimals, floats because one is missing, categories ..."""
    whole = [0, 1, 2]
    columns = {
        "int": pa.array(whole, pa.int8()),
        "float": pa.array([0.0, 1.0, 2.0]),
        "half": pa.array(np.array(whole, np.float16)),
        "decimal": pa.array(map(Decimal, whole), pa.decimal128(3, 0)),
        "scale": pa.array(map(Decimal, whole), pa.decimal128(5, 2)),
        "text": pa.array(map(str, whole)),
        "category": pa.array(["0", "1", "2"]).dictionary_encode(),
        "numbers of a category": pa.array(whole).dictionary_encode(),
    }
    for kind, values in columns.items():
        folder = tmp_path / kind
        folder.mkdir()
        texts = [f"{kind} {at}" for at in whole]
        pq.write_table(
            pa.table(
                {
                    "text": [*texts, "missing"],
                    "label": pa.concat_arrays([_plain(values), pa.nulls(1, _plain(values).type)]),
                }
            ),
            folder / "rows.parquet",
        )
        found = collected(folder, source="rows.parquet")
        assert [(row["label"], row["fault"]) for row in found] == [
            ("0", None),
            ("1", None),
            ("2", None),
            (None, None),
        ], kind


def _plain(values: pa.Array) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def test_numbers_that_no_float_holds_never_become_another_label(tmp_path: Path) -> None:
    lines = ["1e400", "-1e400", str(2**64 + 1), str(2**53 + 1), '"1e400"', "1e22", '"NA"', "true"]
    (tmp_path / "rows.jsonl").write_text(
        "".join(f'{{"text": "t{at}", "label": {each}}}\n' for at, each in enumerate(lines))
    )
    found = collected(tmp_path, source="rows.jsonl")
    assert [row["label"] for row in found] == [
        None,
        None,
        str(2**64 + 1),
        str(2**53 + 1),
        "1e400",
        "1" + 22 * "0",
        "NA",
        "True",
    ]
    assert [row["fault"] for row in found][:3] == [
        "label: not a finite number: inf",
        "label: not a finite number: -inf",
        None,
    ]


def test_where_finds_a_value_in_every_spelling_and_no_other(tmp_path: Path) -> None:
    values = [0, "0", 0.0, 1, "cafe\u0301 ", "Café", str(2**53 + 1), 2**53 + 1, True, "0.0", None]
    (tmp_path / "rows.jsonl").write_text(
        "".join(json.dumps({"text": f"t{at}", "label": "a", "v": each}) + "\n" for at, each in enumerate(values))
    )

    def found(wanted: Any) -> list[int]:
        return [int(row["text"][1:]) for row in collected(tmp_path, source="rows.jsonl", where={"v": wanted})]

    assert found("0") == [0, 1, 2] and found(0) == [0, 1, 2, 9]  # 0 asks for a number, and the text 0.0 spells it
    assert found("café") == [4] and found(2**53 + 1) == [6, 7] and found(True) == [8] and found(None) == [10]
    with pytest.raises(Exception, match="keeps none of the 11 rows"):
        found(2**53)


def test_spans_name_their_labels_by_the_same_rule() -> None:
    cell, fault = told([{"start": 0, "end": 2, "label": "cafe\u0301 "}], "ab")
    assert fault is None and cell is not None and listed(cell)[0].label == "café"


# --- what is allowed, expected, warned of


def test_allowed_labels_and_sets_in_expectations_go_by_name() -> None:
    asked = DataContract(
        labels=[0, 1.0, "cafe\u0301 "],
        expectations=[{"expect_column_values_to_be_in_set": {"column": "label", "value_set": [0, 1.0, " 2"]}}],
    )
    rules = [outcome.rule for outcome in plan(TEXTS, asked, ["text", "label"], "recipes/tickets.yaml")]
    allowed = [rule.arguments["value_set"] for rule in rules if rule.name == "expect_column_values_to_be_in_set"]
    assert allowed == [["0", "1", "café"], ["0", "1", "2"]]


def test_labels_that_differ_in_case_are_kept_and_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).touch()
    table = [{**row, "label": "Pos"} if at % 4 == 0 else row for at, row in enumerate(rows())]
    report = Stage(tmp_path).run(table)
    assert report["alike_labels"] == [["Pos", "pos"]] and set(report["labels"]) == {"Pos", "pos", "neg"}
    assert "warning: the labels 'Pos' and 'pos' differ in letter case, width or blanks only" in capsys.readouterr().err
    assert "alike_labels" not in Stage(tmp_path).run(rows())


# --- what earlier commits wrote


@pytest.mark.parametrize(
    ("earlier", "now"),
    [
        ("0.0", "0"),
        ("-1.0", "-1"),
        ("1e+16", "10000000000000000"),
        ("café ", "café"),
        ("0.5", "0.5"),
        ("1.10", "1.10"),
        ("x", "x"),
    ],
)
def test_a_label_of_before_is_found_under_its_name_of_now(earlier: str, now: str) -> None:
    assert name_among(earlier, ["0", "-1", "10000000000000000", "café", "1.1", "0.5"]) == now


def test_a_name_of_before_that_is_a_label_still_stays_what_it_is() -> None:
    assert name_among("0.0", ["0", "0.0"]) == "0.0"


def test_the_drift_of_renamed_labels_is_none() -> None:
    now = make_profile(10, {"0": 5, "1": 3, "café": 2}, {})
    before = make_profile(10, {"0.0": 5, "1.0": 3, "café": 1, "café ": 1}, {})
    (distance,) = distances(now, before)
    assert distance.value == pytest.approx(0)


def test_a_champion_of_before_is_compared_by_its_labels_names_of_now(tmp_path: Path) -> None:
    """Its columns 0 and 0.0 are one label now, whose probabilities add up."""
    truth = {"label": np.array([0, 1] * 40)}
    right = np.eye(2)[truth["label"]]
    files = {
        "mine": (["0", "1"], right),
        "theirs": (["0", "0.0", "1.0"], np.c_[right[:, 0] * 0.4, right[:, 0] * 0.6, right[:, 1]]),
    }
    for name, (labels, said) in files.items():
        answered = Answered([f"r{at}" for at in range(80)], truth, {"probabilities": said}, {})
        write_predictions(answered, tmp_path / name, axes={"probabilities": labels}, readable={})
    by = Yardstick(find_task("text_classification"), "accuracy", 0.95)
    found = against_champion(tmp_path / "mine", tmp_path / "theirs", "champion", by)
    assert isinstance(found, Paired) and (found.better_by, found.lower) == (0, 0)


@pytest.mark.parametrize("gate", ["accuracy[label=0.0]", "accuracy[label=0]", "accuracy[label= 0]"])
def test_a_gate_means_the_label_however_it_spells_it(gate: str) -> None:
    """A recipe of before says 0.0, the name that a float's slice had then."""
    evidence = Evidence({"accuracy": 0.1, "accuracy[label=0]": 0.9, "accuracy[label=1]": 0.2}, {})
    (reason,) = judge({gate: Gate(at_least=0.8)}, evidence).reasons
    assert reason.passed and reason.gate == gate
    (other,) = judge({"accuracy[label=00]": Gate(at_least=0.8)}, evidence).reasons
    assert other.outcome == "no evidence"
