"""How good a model is about each label: precision, recall and F1 with intervals, and its support."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.schema.evaluation import LABEL_FIGURES
from core.tables.statistics import Interval, ends, resampled
from core.tables.task import LABEL, ByLabel, LabelCounts, Predictions

SUPPORT = "support"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class OfLabel:
    """One label. support: how often it is the true one. figures: those of LABEL_FIGURES that are defined.

    Precision is not defined where nothing was said to be this label, recall not where nothing is.
    """

    label: str
    support: int
    figures: Mapping[str, Interval]

    def as_json(self) -> dict[str, Any]:
        return {SUPPORT: self.support, **{name: interval.as_json() for name, interval in self.figures.items()}}


def by_label(task: ByLabel, measured: Predictions, names: Sequence[str], *, resamples: int, seed: int) -> list[OfLabel]:
    """The labels that occur in the truth or in what the model says, each on the resamples that every metric is on.

    Memory: resamples x labels. An interval is over the resamples in which the figure is defined.
    """
    counts = task.label_counts(measured, np.ones(_rows(measured)))
    values = _figures(counts)
    draws = _draws(task, measured, len(names), resamples=resamples, seed=seed)
    occurs = np.flatnonzero(counts.said + counts.true).tolist()
    intervals = {name: _ends(draws[name][:, occurs]) for name in LABEL_FIGURES}
    return [
        OfLabel(
            names[label],
            int(counts.true[label]),
            {
                name: Interval(float(values[name][label]), float(low[at]), float(high[at]))
                for name, (low, high) in intervals.items()
                if math.isfinite(values[name][label])
            },
        )
        for at, label in enumerate(occurs)
    ]


@dataclass(frozen=True)
class LabelDifference:
    """One label as two models know it. support: how often it is the true one.

    figures: of LABEL_FIGURES: the first model's, the second's, and the second's minus the first's with its interval;
    NaN where one is not defined.
    """

    label: str
    support: int
    figures: Mapping[str, tuple[float, float, Interval]]


def label_differences(
    task: ByLabel, first: Predictions, second: Predictions, names: Sequence[str], *, resamples: int, seed: int
) -> list[LabelDifference]:
    """The labels that occur in the truth or in what a model says, on the same resamples of the same rows.

    first, second: each model's statistics, as measure() has them.
    """
    counts = [task.label_counts(each, np.ones(_rows(each))) for each in (first, second)]
    one, two = map(_figures, counts)
    draws, others = (_draws(task, each, len(names), resamples=resamples, seed=seed) for each in (first, second))
    occurs = np.flatnonzero(counts[0].said + counts[1].said + counts[1].true).tolist()
    apart = {name: (others[name] - draws[name])[:, occurs] for name in LABEL_FIGURES}
    intervals = {name: _ends(each) for name, each in apart.items()}
    return [
        LabelDifference(
            names[label],
            int(counts[1].true[label]),
            {
                name: (
                    float(one[name][label]),
                    float(two[name][label]),
                    Interval(float(two[name][label] - one[name][label]), float(low[at]), float(high[at])),
                )
                for name, (low, high) in intervals.items()
            },
        )
        for at, label in enumerate(occurs)
    ]


def whole_by_label(task: ByLabel, measured: Predictions, names: Sequence[str]) -> dict[str, float]:
    """The figures of every label on all rows, each under the name that a gate has for it."""
    values = _figures(task.label_counts(measured, np.ones(_rows(measured))))
    return {
        named(figure, label): float(value)
        for figure, each in values.items()
        for label, value in zip(names, each, strict=True)
        if math.isfinite(value)
    }


def named(figure: str, label: str) -> str:
    """What a gate calls a label's figure."""
    return f"{figure}[{LABEL}={label}]"


def _figures(counts: LabelCounts) -> dict[str, Array]:
    """LABEL_FIGURES, (labels,); NaN where one is not defined."""
    with np.errstate(invalid="ignore"):
        return {
            "precision": counts.right / counts.said,
            "recall": counts.right / counts.true,
            "f1": 2 * counts.right / (counts.said + counts.true),
        }


def _draws(task: ByLabel, measured: Predictions, labels: int, *, resamples: int, seed: int) -> dict[str, Array]:
    """Each figure on each resample of the rows, (resamples, labels)."""
    draws = {name: np.empty((resamples, labels)) for name in LABEL_FIGURES}
    for at, times in enumerate(resampled(_rows(measured), resamples=resamples, seed=seed)):
        for name, drawn in _figures(task.label_counts(measured, times)).items():
            draws[name][at] = drawn
    return draws


def _rows(measured: Predictions) -> int:
    return len(next(iter(measured.values())))


def _ends(draws: Array) -> tuple[Array, Array]:
    """The ends of each column's interval, over its numbers. draws: (resamples, labels)."""
    if not draws.size:
        return draws[0], draws[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a figure that no resample defines: nobody reads its ends
        low, high = np.nanquantile(draws, ends(), axis=0)
    return low, high
