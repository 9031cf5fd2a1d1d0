"""Windows of time series that are read out of the series and never written: what is kept of one is where it starts.

Ten million rows of seven numbers: 280 MB of them, and 8 bytes a window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

SERIES, TIME, VALUES, START = "series", "time", "values", "start"
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Steps:
    """Steps of several series, those of one series together and in the order of time.

    series: (steps,) int64. times: (steps,) float64. values: (steps, columns) float32.
    own: (steps,) whether a step may be forecast; the others are context from before.
    """

    series: Array
    times: Array
    values: Array
    own: Array

    def last(self, count: int) -> Steps:
        """The last so many steps of each series, as context of what follows."""
        _, ends = np.unique(self.series, return_index=True)
        ends = np.append(ends[1:], len(self.series))
        kept = np.repeat(ends, np.diff(ends, prepend=0)) - np.arange(len(self.series)) <= count
        return Steps(self.series[kept], self.times[kept], self.values[kept], np.zeros(int(kept.sum()), bool))


def in_order(series: Array, times: Array, values: Array, before: Steps | None = None) -> Steps:
    """Rows in any order as Steps, behind those of `before` where there are some."""
    own = np.ones(len(series), bool)
    if before is not None:
        series, times = np.concatenate([before.series, series]), np.concatenate([before.times, times])
        values, own = np.concatenate([before.values, values]), np.concatenate([before.own, own])
    order = np.lexsort((times, series))
    return Steps(series[order], times[order], values[order], own[order])


def runs(steps: Steps, *, longest: float) -> Array:
    """(steps,): the number of the run that each step is of. A run ends with its series, or at a gap.

    longest: the most time between two steps of a run.
    """
    breaks = (np.diff(steps.series) != 0) | (np.diff(steps.times) > longest)
    return np.concatenate([np.zeros(min(1, len(steps.series)), np.int64), np.cumsum(breaks)])


def starts(steps: Steps, *, context: int, horizon: int, longest: float, stride: int = 1) -> Array:
    """Where windows of context + horizon steps start: each inside one run, all that is forecast its split's own.

    stride: steps from one window to the next of a run.
    """
    length = context + horizon
    last = len(steps.series) - length
    if last < 0:
        return np.zeros(0, np.int64)
    run = runs(steps, longest=longest)
    whole = (run[: last + 1] == run[length - 1 :]) & steps.own[context : context + last + 1]
    found = np.flatnonzero(whole)
    if stride == 1:
        return found
    first = found[np.searchsorted(run[found], run[found])]
    return np.asarray(found[(found - first) % stride == 0])


class Windows:
    """The steps of each split that a learner was given, and the windows in them."""

    def __init__(self, *, context: int, horizon: int, longest: float) -> None:
        self.context, self.horizon, self.longest = context, horizon, longest
        self.found: list[Array] = []  # where windows start, of each split
        self._values: list[Array] = []
        self._offsets: list[int] = []
        self._before: Steps | None = None

    def add(self, encoded: pa.Table) -> pa.Table:
        """A table of where each window of these rows starts.

        Splits come in the order of time: windows of a later one take their context from the one before, where no gap
        is between them. Rows that are no later than those before begin anew.
        """
        import pyarrow as pa

        series, times = encoded[SERIES].to_numpy(), encoded[TIME].to_numpy()
        if self._before is not None and len(times) and times.min() <= self._before.times.max(initial=-np.inf):
            self.found, self._values, self._offsets, self._before = [], [], [], None
        steps = in_order(series, times, values_of(encoded), self._before)
        offset = sum(map(len, self._values))
        self._values.append(steps.values)
        self._offsets.append(offset)
        self._before = steps.last(self.context)
        found = starts(steps, context=self.context, horizon=self.horizon, longest=self.longest) + offset
        self.found.append(found)
        return pa.table({START: pa.array(found)})

    def take(self, found: Array) -> tuple[Array, Array]:
        """What was, (windows, context, columns), and what came, (windows, horizon, columns), of some windows.

        found: starts out of one table that add() gave.
        """
        at = int(np.searchsorted(self._offsets, found[0], side="right")) - 1
        places = (found - self._offsets[at])[:, None] + np.arange(self.context + self.horizon)
        values = self._values[at][places]
        return values[:, : self.context], values[:, self.context :]


def values_of(encoded: pa.Table) -> Array:
    """(rows, columns) of the encoded rows."""
    column = encoded[VALUES]
    parts = [chunk.flatten().to_numpy() for chunk in column.chunks]
    return np.concatenate([np.zeros(0, np.float32), *parts]).reshape(-1, column.type.list_size)
