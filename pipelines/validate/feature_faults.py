"""What is wrong with a whole column of features: it never varies, it is an id, or it is the target in disguise.

Columns go by a batch of rows at a time; what is kept of each is a few values, however many rows there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from core.schema.columns import Contract
from pipelines.expectations.rules import Check

CONSTANT, ID, DISGUISED = "a feature varies", "a category repeats", "a feature is not the target"
_LOOKED_AT = 100_000  # rows by which a column of categories is judged to be one of ids
_FEWEST = 20  # rows from which on a column is judged
_ID_SHARE = 0.9  # different values a row that has one: from here on they are names of rows
_MOST_VALUES = 1000  # of a column that is compared with the target value by value
_REPEATED = 3  # rows a value, on average, before a one-to-one relation with the target says something
_SAME_LINE = 1 - 1e-9  # correlation with a numeric target, up to the rounding of sums


@dataclass
class _Sums:
    """Of two columns of numbers, counted from the first row's: how many pairs, and the five sums of a correlation."""

    start: np.ndarray[Any, Any] | None = None
    count: int = 0
    sums: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(5))

    def add(self, one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> None:
        both = np.isfinite(one) & np.isfinite(two)
        pairs = np.stack([one[both], two[both]])
        if not pairs.size:
            return
        if self.start is None:
            self.start = pairs[:, :1]
        (one, two), self.count = pairs - self.start, self.count + pairs.shape[1]
        self.sums += [one.sum(), two.sum(), one @ one, two @ two, one @ two]

    @property
    def correlation(self) -> float:
        """Pearson's; 0 where one of the two does not vary."""
        n, (x, y, xx, yy, xy) = self.count, self.sums
        spread = (n * xx - x * x) * (n * yy - y * y)
        return float((n * xy - x * y) / np.sqrt(spread)) if spread > 0 else 0.0


class FeatureFaults:
    """Looks at the feature columns of a contract; there is nothing to look at where it has none."""

    def __init__(self, contract: Contract) -> None:
        self._kinds = {name: column.kind for name, column in contract.columns.items() if column.feature}
        self._target = next((name for name in contract.targets), "") if self._kinds else ""
        self._numeric = bool(self._target) and contract.columns[self._target].kind == "number"
        self._rows = 0
        self._first: dict[str, set[Any]] = {name: set() for name in self._kinds}  # values, until there are two
        self._names: dict[str, set[Any]] = {name: set() for name, kind in self._kinds.items() if kind == "category"}
        self._named = dict.fromkeys(self._names, 0)  # rows with a value, among those looked at
        self._pairs: dict[str, dict[Any, Any]] = {name: {} for name in self._kinds}  # value -> target, while it is one
        self._sums = {name: _Sums() for name, kind in self._kinds.items() if self._numeric and kind == "number"}

    def look(self, rows: pd.DataFrame) -> None:
        """Some more rows, those with a fault left out."""
        if not self._kinds:
            return
        for name, seen in self._first.items():
            if len(seen) < 2:
                seen.update(_values(rows[name])[:2])
        if self._rows < _LOOKED_AT:
            for name, seen in self._names.items():
                seen.update(rows[name].dropna())
                self._named[name] += int(rows[name].notna().sum())
        if self._target in rows:
            self._compare(rows[rows[self._target].notna()])
        self._rows += len(rows)

    def checks(self) -> Iterator[Check]:
        """A check of each fault; those that only warn keep their rows."""
        for name, seen in self._first.items():
            if self._rows >= 2 and len(seen) < 2:
                what = "is empty in every row" if seen == {None} else f"is {next(iter(seen))!r} in every row"
                yield _check(CONSTANT, name, f"{name!r} {what}: it tells no row from another. {_LEAVE_OUT}")
        for name, seen in self._names.items():
            filled = self._named[name]
            if filled >= _FEWEST and len(seen) >= _ID_SHARE * filled:
                yield _check(
                    ID, name,
                    f"{name!r} is to be a category and has {len(seen):,} different values in {filled:,} rows, as an id "
                    f"has: of a new value nothing was learnt. {_LEAVE_OUT}",
                )  # fmt: skip
        for name in self._kinds:
            if len(self._first[name]) > 1 and self._disguised(name):
                yield _check(
                    DISGUISED, name,
                    f"{name!r} says {self._target!r} exactly, one to one: what is only known with the answer is no "
                    f"input. {_LEAVE_OUT}",
                    keeps=True,
                )  # fmt: skip

    def _compare(self, rows: pd.DataFrame) -> None:
        for name, known in list(self._pairs.items()):
            pairs = rows[[name, self._target]].drop_duplicates()
            for value, target in zip(_plain(pairs[name]), pairs[self._target], strict=True):
                if known.setdefault(value, target) != target or len(known) > _MOST_VALUES:
                    del self._pairs[name]
                    break
        for name, sums in self._sums.items():
            sums.add(*(rows[each].to_numpy(np.float64, na_value=np.nan) for each in (name, self._target)))

    def _disguised(self, name: str) -> bool:
        known, sums = self._pairs.get(name, {}), self._sums.get(name)
        if sums is not None and sums.count >= _FEWEST and abs(sums.correlation) >= _SAME_LINE:
            return True
        targets = len(set(known.values()))
        return self._rows >= max(_FEWEST, _REPEATED * len(known)) and 1 < targets == len(known)


_LEAVE_OUT = "Leave it out under `preprocess:`"


def _check(what: str, column: str, words: str, *, keeps: bool = False) -> Check:
    return Check(what, words, (column,), np.empty(0, np.int64), passed=False, keeps=keeps)


def _values(column: pd.Series[Any]) -> list[Any]:
    return _plain(column.drop_duplicates())


def _plain(column: pd.Series[Any]) -> list[Any]:
    """Values with None for a missing one: NaN is not equal to itself."""
    return [None if missing else value for value, missing in zip(column, column.isna(), strict=True)]
