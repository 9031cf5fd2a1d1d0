"""What two models said about the same test rows -> how far apart they are: by metric, by label, row by row.

A difference is the second model's figure minus the first's, with an interval from resamples of the
rows that are the same for both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from core.tables.statistics import Interval, sample
from core.tables.task import ByLabel, ByRow, Predictions, RowAnswers, Task
from pipelines.evidence.by_label import LabelDifference, label_differences
from pipelines.evidence.comparison import RESAMPLES, SEED, Common

Says = Literal["better", "worse", "equal", "undecided"]


def says(difference: Interval, *, more_is_better: bool) -> Says:
    """What an interval says of the second model; undecided where it holds 0, or was not defined."""
    low, high = difference.low, difference.high
    if low == high == difference.value == 0:
        return "equal"
    if low > 0 or high < 0:
        return "better" if (low > 0) == more_is_better else "worse"
    return "undecided"


@dataclass(frozen=True)
class MetricDifference:
    """first, second: each model's value on the common rows."""

    name: str
    more_is_better: bool
    first: float
    second: float
    difference: Interval

    @property
    def says(self) -> Says:
        return says(self.difference, more_is_better=self.more_is_better)


@dataclass(frozen=True)
class Answer:
    """One model's answer to a row. said: None where words have no room for it; sure: None where it does not say."""

    said: str | None
    error: float
    sure: float | None


@dataclass(frozen=True)
class RowDifference:
    """A row about which the two do not say the same. true: None where words have no room for it."""

    row_id: str
    true: str | None
    first: Answer
    second: Answer


@dataclass(frozen=True)
class RowDifferences:
    """The rows about which two models do not say the same.

    count: how many. nearer: on how many of them the first model's answer is nearer the truth, and the second's.
    error_name: what an error counts. shown: some of them, those with the largest difference of the errors first.
    """

    count: int
    nearer: tuple[int, int]
    error_name: str
    shown: Sequence[RowDifference]


@dataclass(frozen=True)
class Apart:
    """How two models differ on `rows` test rows that both answered.

    of: how many rows each was asked about. rows_apart: None of a task whose answers are not looked at one by one.
    """

    rows: int
    of: tuple[int, int]
    primary: str
    metrics: Sequence[MetricDifference]
    labels: Sequence[LabelDifference]
    rows_apart: RowDifferences | None


def apart(task: Task, common: Common, *, primary: str, most: int) -> Apart:
    """Everything about the common rows, of which there is one at least; `most` of the rows that differ."""
    said = {"first": common.first, "second": common.second}
    measured = {name: task.measure({**each, **common.truth}) for name, each in said.items()}
    return Apart(
        rows=len(common.row_ids),
        of=common.asked,
        primary=primary,
        metrics=_metrics(task, measured, primary),
        labels=_labels(task, measured, common),
        rows_apart=_row_differences(task, common, most) if isinstance(task, ByRow) else None,
    )


def _metrics(task: Task, measured: Mapping[str, Predictions], primary: str) -> list[MetricDifference]:
    """Those that are numbers, the primary one first."""
    drawn = sample(measured, task.score, resamples=RESAMPLES, seed=SEED)
    one, two = drawn["first"], drawn["second"]
    names = sorted(task.metrics, key=lambda name: name != primary)
    return [
        MetricDifference(name, task.metrics[name], one.values[name], two.values[name], two.difference(one, name))
        for name in names
        if math.isfinite(one.values[name]) and math.isfinite(two.values[name])
    ]


def _labels(task: Task, measured: Mapping[str, Predictions], common: Common) -> list[LabelDifference]:
    if not isinstance(task, ByLabel):
        return []
    names = task.label_names({**common.second, **common.truth}, common.axes)
    first, second = measured["first"], measured["second"]
    return label_differences(task, first, second, names, resamples=RESAMPLES, seed=SEED) if names else []


def _row_differences(task: ByRow, common: Common, most: int) -> RowDifferences:
    first, second = (task.by_row({**said, **common.truth}, common.axes) for said in (common.first, common.second))
    differ = _differ(first, second)
    gain = (first.error - second.error)[differ]
    sure = sum(np.asarray(each.sure)[differ] for each in (first, second) if each.sure is not None)
    order = np.lexsort((-np.broadcast_to(sure, len(differ)), -np.abs(gain)))
    true = second.true
    shown = [
        RowDifference(common.row_ids[at], None if true is None else true[at], _answer(first, at), _answer(second, at))
        for at in differ[order[:most]].tolist()
    ]
    nearer = int((gain < 0).sum()), int((gain > 0).sum())
    return RowDifferences(len(differ), nearer, second.error_name, shown)


def _differ(first: RowAnswers, second: RowAnswers) -> np.ndarray[Any, Any]:
    """Positions of the rows of which two models do not say the same; without words, of those with another error."""
    if first.said is None or second.said is None:
        return np.flatnonzero(first.error != second.error)
    pairs = zip(first.said, second.said, strict=True)
    return np.array([at for at, (one, two) in enumerate(pairs) if one != two], np.int64)


def _answer(answers: RowAnswers, at: int) -> Answer:
    return Answer(
        answers.said[at] if answers.said is not None else None,
        float(answers.error[at]),
        float(answers.sure[at]) if answers.sure is not None else None,
    )
