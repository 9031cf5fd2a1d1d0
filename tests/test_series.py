"""Rows of time series: what is learnt of them, gaps that are told, windows as a caller sends them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from core.errors import BadData, BadRequest
from pipelines.tasks.parts.inputs import series
from pipelines.tasks.parts.inputs.contexts import contexts, units

SMALL = {"context": 3, "horizon": 2, "season": 1}


def hours(count: int, *, start: str = "2016-07-01", name: str | None = None, **columns: Any) -> pd.DataFrame:
    times = pd.date_range(start, periods=count, freq="h").strftime("%Y-%m-%dT%H:%M:%S")
    rows = pd.DataFrame({"time": times.astype("str"), "value": np.arange(float(count)), **columns})
    return rows if name is None else rows.assign(series=name)


def learnt(folder: Path, *parts: pd.DataFrame, **options: Any) -> series.Series:
    series.prepare(parts, series.Options.model_validate(SMALL | options), folder)
    return series.read(folder)


def test_mean_and_deviation_do_not_depend_on_the_batches(tmp_path: Path) -> None:
    """Against numpy over all rows; a column far from zero loses no digits, and one that never moves stays finite."""
    rows = hours(100, far=1e9 + np.random.default_rng(1).normal(size=100), still=3.0)
    columns = ["value", "far", "still"]
    for parts in ([rows], [rows[:1], rows[1:37], rows[37:]]):
        known = learnt(tmp_path, *parts, values=columns[:2], covariates=columns[2:])
        np.testing.assert_allclose(known.mean, rows[columns].mean(), rtol=1e-12)
        np.testing.assert_allclose(known.deviation, [*rows[columns[:2]].std(ddof=0), 1.0], rtol=1e-6)
        assert known.step == 3600.0


def test_gaps_are_told_and_no_window_reaches_across(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pd.concat([hours(6, name="a"), hours(9, name="b").drop(index=[4])])
    known = learnt(tmp_path, rows.sample(frac=1, random_state=1))
    assert "train: steps 14, series 2, gaps 1, longest run 6" in capsys.readouterr().err
    found = units(rows, rows[:0], known.model_copy(update={"stride": 1}))
    assert found["row_id"].tolist() == ["a 2016-07-01T03:00:00", "a 2016-07-01T04:00:00"]


def test_no_window_fits(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"no training window of 3 \+ 2 steps .*steps 8, series 1, gaps 1, longest run 4"):
        learnt(tmp_path, hours(9).drop(index=[4]))


def test_units_are_windows_whose_future_is_the_splits_own(tmp_path: Path) -> None:
    """The context may come from before, where no gap lies between; windows do not overlap unless told so."""
    rows = hours(20)
    before, after = rows[:10], rows[10:]
    known = learnt(tmp_path, before)
    found = units(after.sample(frac=1, random_state=1), before, known)
    assert found["time"].tolist() == [f"2016-07-01T{hour}:00:00" for hour in (10, 12, 14, 16, 18)]
    assert found["value"].tolist()[0] == [7.0, 8.0, 9.0]
    assert found["future"].tolist() == [[hour, hour + 1.0] for hour in (10, 12, 14, 16, 18)]
    assert found["row_id"].tolist() == found["time"].tolist()
    gap = units(after, before[:9], known)
    assert gap["value"].tolist()[0] == [10.0, 11.0, 12.0]
    assert len(units(after, before[:0], known)) == 3
    assert len(units(after, before, known.model_copy(update={"stride": 1}))) == 9
    assert units(after[:1], before, known).empty


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, 25),
        ({"season": 7}, 24),
        ({"horizon": 12, "season": 12}, 13),
        ({"horizon": 3, "season": 6}, 5),
        ({"stride": 1}, 1),
    ],
)
def test_windows_begin_at_every_place_of_the_season(options: dict[str, Any], steps: int) -> None:
    """By default the fewest steps, at least the horizon, that have no divisor in common with the season."""
    given = series.Options.model_validate(options).model_dump()
    known = series.Series.model_validate({**given, "mean": [0.0], "deviation": [1.0], "step": 1.0})
    assert known.spacing == steps


def test_units_of_several_series_and_columns(tmp_path: Path) -> None:
    rows = pd.concat([hours(12, name=name, other=-np.arange(12.0), wind=1.0) for name in ("b", "a")])
    rows["value"] += np.repeat([100.0, 0.0], 12)
    known = learnt(tmp_path, rows, values=["value", "other"], covariates=["wind"])
    found = units(rows, rows[:0], known).set_index("row_id")
    assert sorted(found["series"]) == ["a"] * 4 + ["b"] * 4
    one = found.loc["b 2016-07-01T03:00:00"]
    assert one["value"] == {"value": [100.0, 101.0, 102.0], "other": [0.0, -1.0, -2.0], "wind": [1.0, 1.0, 1.0]}
    assert one["future"] == [103.0, -3.0, 104.0, -4.0]


def test_contexts_are_what_encoding_gives(tmp_path: Path) -> None:
    """What a caller sends becomes the same numbers as the encoded rows; more steps than needed may come."""
    rows = hours(12, other=-(np.arange(12.0) ** 2))
    known = learnt(tmp_path, rows, values=["value", "other"])
    encoded = series.encode(rows, known)["values"].to_pylist()
    sent = pd.DataFrame({"value": [{"value": rows["value"].tolist(), "other": rows["other"].tolist()}]})
    np.testing.assert_array_equal(contexts(sent, known)[0], np.array(encoded[-3:], np.float32))


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ([1.0, 2.0], r"input 2: value has 2 steps. Needed are the last 3 steps of value"),
        ("1 2 3", "input 2: value is no list of numbers"),
        (None, "input 2: value is no list of numbers"),
        ([1.0, None, 2.0], "input 2: value holds something that is no finite number"),
        ([1.0, "x", 2.0], "input 2: value holds something that is no finite number"),
        ([1.0, float("inf"), 2.0], "input 2: value holds something that is no finite number"),
        ([[1.0], [2.0], [3.0]], "input 2: value holds something that is no finite number"),
        ({"other": [1.0, 2.0, 3.0]}, "input 2: value is no list of numbers"),
    ],
)
def test_what_cannot_be_forecast_from(sent: Any, words: str, tmp_path: Path) -> None:
    known = learnt(tmp_path, hours(10))
    rows = pd.DataFrame({"value": pd.Series([[1.0, 2.0, 3.0], sent], dtype="object")})
    with pytest.raises(BadRequest, match=words):
        contexts(rows, known)


def test_lists_of_other_lengths(tmp_path: Path) -> None:
    known = learnt(tmp_path, hours(10, other=1.0), values=["value", "other"])
    rows = pd.DataFrame({"value": [{"value": [1.0, 2.0, 3.0], "other": [1.0, 2.0, 3.0, 4.0]}]})
    with pytest.raises(BadRequest, match="input 1: value has lists of different lengths: value 3, other 4"):
        contexts(rows, known)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"season": 97}, r"season \(97\) must be at most context \(96\)"),
        ({"values": ["a", "b"], "covariates": ["a"]}, "values and covariates name 'a' twice"),
        ({"values": []}, "at least 1 item"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        series.Options.model_validate(options)
