"""Windows of time series against a search of plain Python: several series, gaps, unequal lengths, two splits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.tasks.parts.inputs.windows import START, Windows, in_order, runs, starts

Rows = list[tuple[int, int]]  # series and time

LENGTHS = st.tuples(st.integers(1, 4), st.integers(1, 3))
ROWS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30)), max_size=70, unique=True)


def encoded(rows: Rows) -> pa.Table:
    """Rows as encode() leaves them, in the order given; a value says which row it is."""
    values = np.array([[1000 * series + time, -time] for series, time in rows], np.float32).reshape(-1)
    return pa.table(
        {
            "series": pa.array([series for series, _ in rows], pa.int64()),
            "time": pa.array([float(time) for _, time in rows], pa.float64()),
            "values": pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), 2),
        }
    )


def slow(known: Rows, rows: Rows, context: int, horizon: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Every window whose steps follow each other, time by time, and whose future is of `rows`."""
    there, own = {*known, *rows}, set(rows)
    for series, time in sorted(there):
        window = tuple((series, time + step) for step in range(context + horizon))
        if all(step in there for step in window) and all(step in own for step in window[context:]):
            yield window


def taken(windows: Windows, table: pa.Table) -> list[tuple[tuple[int, int], ...]]:
    """The windows of a table, told by their values."""
    if not len(table):
        return []
    past, future = windows.take(table[START].to_numpy())
    whole = np.concatenate([past, future], axis=1)
    return [tuple(_row(step) for step in window) for window in whole]


def _row(step: np.ndarray[Any, Any]) -> tuple[int, int]:
    time = int(-step[1])
    return (int(step[0]) - time) // 1000, time


@settings(deadline=None)
@given(ROWS, ROWS, LENGTHS)
def test_windows_of_two_splits(first: Rows, second: Rows, lengths: tuple[int, int]) -> None:
    """Train windows lie in train; later ones may begin there, but what they forecast is the later split's own."""
    context, horizon = lengths
    train = [row for row in first if row[1] < 15]
    later = [row for row in second if row[1] >= 15]
    windows = Windows(context=context, horizon=horizon, longest=1.5)
    found = [taken(windows, windows.add(encoded(rows))) for rows in (train, later)]
    assert found[0] == list(slow([], train, context, horizon))
    assert found[1] == list(slow(train, later, context, horizon))


@given(ROWS, LENGTHS, st.integers(1, 4))
def test_stride_counts_from_the_first_window_of_a_run(rows: Rows, lengths: tuple[int, int], stride: int) -> None:
    context, horizon = lengths
    series, times = (np.array([row[at] for row in rows], np.int64) for at in (0, 1))
    steps = in_order(series, times, np.zeros((len(rows), 1), np.float32))
    every, some = (starts(steps, context=context, horizon=horizon, longest=1.5, stride=each) for each in (1, stride))
    expected, run = [], runs(steps, longest=1.5)
    for number in np.unique(run):
        expected += every[run[every] == number][::stride].tolist()
    assert some.tolist() == expected


def test_only_long_steps_end_a_run() -> None:
    """Months are 28 to 31 days: one grid. A month that is missing is a gap."""
    days = np.cumsum([0, 31, 28, 31, 61, 31]).astype(float)
    steps = in_order(np.zeros(6, np.int64), days, np.zeros((6, 1), np.float32))
    assert runs(steps, longest=1.5 * 31).tolist() == [0, 0, 0, 0, 1, 1]


def test_rows_in_any_order_give_the_same_windows() -> None:
    rows = [(series, time) for series in (0, 1) for time in range(8)]
    shuffled = [rows[at] for at in np.random.default_rng(1).permutation(len(rows))]
    found = []
    for each in (rows, shuffled):
        windows = Windows(context=3, horizon=2, longest=1.5)
        found.append(taken(windows, windows.add(encoded(each))))
    assert found[0] == found[1]
    assert len(found[0]) == 8


def test_what_is_no_later_begins_anew() -> None:
    """A learner that is asked for its training windows again holds them once."""
    windows = Windows(context=3, horizon=2, longest=1.5)
    first, again = (windows.add(encoded([(0, time) for time in range(9)])) for _ in range(2))
    assert first == again
    assert len(windows.found) == len(windows._values) == 1


@pytest.mark.parametrize("rows", [0, 1, 4])
def test_too_few_rows_for_a_window(rows: int) -> None:
    windows = Windows(context=3, horizon=2, longest=1.5)
    assert len(windows.add(encoded([(0, time) for time in range(rows)]))) == 0


def test_a_window_costs_eight_bytes() -> None:
    """A million steps: what is kept of a window is where it starts, and values stay float32."""
    count = 1_000_000
    table = pa.table(
        {
            "series": pa.array(np.repeat(np.arange(10), count // 10)),
            "time": pa.array(np.tile(np.arange(count // 10, dtype=np.float64), 10)),
            "values": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(count, np.float32)), 1),
        }
    )
    windows = Windows(context=96, horizon=24, longest=1.5)
    found = windows.add(table)
    assert len(found) == count - 10 * 119
    assert found.nbytes == 8 * len(found)
    assert sum(values.nbytes for values in windows._values) == 4 * count
