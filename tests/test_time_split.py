"""The split by time against a slow one of plain Python, the ways to say it wrong, and what counts as a time."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.errors import BadData
from core.schema.data import SPLITS, Cuts, Split
from core.schema.times import as_number, as_text, is_date, time_text
from core.splits.time_split import LEFT_OUT, Times, joined, time_sides, times_of


def numbers(*values: float) -> Times:
    return Times(np.array(values, dtype=np.float64), dates=False)


def said(times: Times, split: Split) -> list[str | None]:
    codes = time_sides(times, split, settings_file="recipes/tiny.yaml").codes
    return [None if code == LEFT_OUT else SPLITS[code] for code in codes]


def slow(times: Times, starts: list[int], gap: int) -> list[str | None]:
    """The definition: each different time's side by its place, then the gaps before cuts."""
    different = sorted(set(times.numbers.tolist()))
    train, validation, test = starts
    sides: dict[float, str | None] = {}
    for at, time in enumerate(different):
        name: str | None = "train" if at < train else "validation" if at < validation else "test"
        in_gap = train - gap <= at < train or validation - gap <= at < validation
        sides[time] = None if at >= test or in_gap else name
    return [sides[time] for time in times.numbers.tolist()]


@given(
    st.lists(st.integers(0, 40), min_size=30, max_size=60).filter(lambda times: len(set(times)) >= 20),
    st.integers(0, 3),
    st.sampled_from([(0.6, 0.2, 0.2), (0.8, 0.0, 0.2), (0.5, 0.25, 0.25)]),
)
def test_shares_against_the_definition(times: list[int], gap: int, shares: tuple[float, float, float]) -> None:
    """Cuts lie by shares of the different times, and rows of one time are on one side."""
    split = Split(train=shares[0], validation=shares[1], test=shares[2], time="time", gap=gap)
    count = len(set(times))
    starts = [round(shares[0] * count), round((shares[0] + shares[1]) * count), count]
    assert said(numbers(*times), split) == slow(numbers(*times), starts, gap)


@given(
    st.lists(st.integers(0, 40), min_size=40, max_size=80),
    st.tuples(st.integers(5, 15), st.integers(16, 25), st.integers(26, 60)),
    st.integers(0, 2),
)
def test_cuts_against_the_definition(times: list[int], cuts: tuple[int, int, int], gap: int) -> None:
    """Explicit cuts lie where they are said, whatever rows there are, and a split that is left with none is refused."""
    times = [*times, 0, 1, 2, *(cut - step for cut in cuts for step in (1, 2, 3))]
    split = Split(time="time", gap=gap, cuts=Cuts(validation=cuts[0], test=cuts[1], end=cuts[2]))
    different = sorted(set(times))
    starts = [sum(time < cut for time in different) for cut in cuts]
    expected = slow(numbers(*times), starts, gap)
    if set(SPLITS) <= set(expected):
        assert said(numbers(*times), split) == expected
    else:
        with pytest.raises(BadData):
            said(numbers(*times), split)


def test_rows_left_out_are_counted_by_reason() -> None:
    sides = time_sides(
        numbers(*range(20), 9, 19), Split(time="time", gap=1, cuts=Cuts(validation=10, test=14, end=18)),
        settings_file="recipes/tiny.yaml",
    )  # fmt: skip
    assert (sides.gap, sides.after_end) == (3, 3)  # 9 twice and 13; 18, and 19 twice


def test_published_cuts_of_ett() -> None:
    """12, 4 and 4 months of 30 days, in hours: 8,640, 2,880 and 2,880, from 2016-07-01 on."""
    hours = pd.Series(pd.date_range("2016-07-01", periods=17_420, freq="h").strftime("%Y-%m-%d %H:%M:%S"))
    split = Split(time="date", cuts=Cuts(validation="2017-06-26", test="2017-10-24", end="2018-02-21"))
    sides = time_sides(times_of(hours, column="date"), split, settings_file="recipes/ett.yaml")
    assert np.bincount(sides.codes + 1).tolist() == [3020, 8640, 2880, 2880]


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (Split(time="time", gap=9), "validation gets 2 of 20 different times before a gap of 9"),
        (Split(time="time", cuts=Cuts(validation=30, test=40)), "validation gets 0 of 20 different times; column"),
        (
            Split(time="time", cuts=Cuts(validation="2017-01-01", test="2018-01-01")),
            "cuts are dates, and column 'time'",
        ),
    ],
)
def test_a_split_without_rows(split: Split, words: str) -> None:
    with pytest.raises(BadData, match=words):
        time_sides(numbers(*range(20)), split, settings_file="recipes/tiny.yaml")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gap": 3}, "cuts and gap belong to a split by time"),
        ({"time": "t", "group_by": "g"}, "exclude each other"),
        (
            {"time": "t", "train": 0.7, "validation": 0.2, "cuts": {"validation": 1, "test": 2}},
            "in place of the shares",
        ),
        ({"time": "t", "cuts": {"validation": 2, "test": 1}}, "each later than the one before"),
        ({"time": "t", "cuts": {"validation": 1, "test": "2017-01-01"}}, "times of one kind"),
        ({"time": "t", "cuts": {"validation": "yesterday", "test": 1}}, "validation must be a date of ISO 8601"),
    ],
)
def test_mistakes_in_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Split.model_validate(settings)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (17, "17"), ("17.0", "17"), (0.5, "0.5"), ("20160701", "20160701"), (True, None), ("nan", None), ("", None),
        ("2016-07-01", "2016-07-01T00:00:00"), ("2016-07-01 13:00:00", "2016-07-01T13:00:00"), ("01/07/2016", None),
        ("2016-07-01T13:00:00+02:00", "2016-07-01T11:00:00"), ("2016-07-01T11:00:00Z", "2016-07-01T11:00:00"),
        (date(2016, 7, 1), "2016-07-01T00:00:00"), (datetime(2016, 7, 1, 1), "2016-07-01T01:00:00"), (None, None),
        ("0001-01-01T00:00:00+05:00", None),
    ],
)  # fmt: skip
def test_one_spelling_of_a_time(value: Any, text: str | None) -> None:
    assert time_text(value) == text
    if text is not None:
        assert as_text(as_number(text), date=is_date(text)) == text


def test_times_as_numbers_are_those_of_their_spelling() -> None:
    """The fast way over a column gives what the slow one gives cell by cell."""
    cells = ["2016-07-01", "2016-07-01T13:00:00.25", "1969-12-31 23:00:00", "2016-07-01T13:00:00+02:00"]
    found = times_of(pd.Series(cells), column="time")
    assert found.numbers.tolist() == [as_number(str(time_text(cell))) for cell in cells]
    assert found.text(found.numbers[1]) == "2016-07-01T13:00:00.250000"
    assert times_of(pd.Series(pd.to_datetime(["2016-07-01"])), column="time").numbers.tolist() == [1467331200.0]
    assert not times_of(pd.Series(["3", "4.5"]), column="time").dates


def test_columns_that_hold_no_times() -> None:
    with pytest.raises(BadData, match=r"column 'when' has 'soon' on 1 of 2 rows, which is no time"):
        times_of(pd.Series(["2016-07-01", "soon"]), column="when")
    with pytest.raises(BadData, match="column 'when' holds plain numbers and dates"):
        times_of(pd.Series(["2016-07-01", "3"]), column="when")
    with pytest.raises(BadData, match="column 'when' holds plain numbers and dates"):
        joined([numbers(1), Times(np.array([1.0]), dates=True)], column="when")
