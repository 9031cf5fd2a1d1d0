"""How sure a score is: percentile intervals over resampled test rows (Efron 1979). Pure numpy.

Models that are compared see the same resamples, so that what they share (hard rows, easy rows) cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.task import Predictions

CONFIDENCE = 0.95

Floats = np.ndarray[Any, np.dtype[np.float64]]
Score = Callable[[Predictions], Mapping[str, float]]


@dataclass(frozen=True)
class Interval:
    """A value on all rows, and the two ends that leave (1 - CONFIDENCE) / 2 of the resamples outside on each side."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Sampled:
    """A model's metrics on all rows, and on each resample: (resamples,) a metric."""

    values: Mapping[str, float]
    draws: Mapping[str, Floats]

    def interval(self, metric: str) -> Interval:
        return _interval(self.values[metric], self.draws[metric])

    def difference(self, other: Sampled, metric: str) -> Interval:
        """This model's metric minus the other's, on the same resamples."""
        return _interval(self.values[metric] - other.values[metric], self.draws[metric] - other.draws[metric])

    def lower_difference(self, other: Sampled, metric: str, *, confidence: float, more_is_better: bool) -> float:
        """The lower end of the one-sided interval of how much better this model is than the other."""
        sign = 1.0 if more_is_better else -1.0
        return float(np.quantile(sign * (self.draws[metric] - other.draws[metric]), 1 - confidence))


def sample(
    models: Mapping[str, Predictions], truth: Predictions, score: Score, *, resamples: int, seed: int
) -> dict[str, Sampled]:
    """Score every model on all rows and on `resamples` draws of as many rows with replacement.

    models: name -> predictions; truth: what is true. The arrays of both have one entry a row.
    Raises ValueError without rows.
    """
    rows = len(next(iter(truth.values())))
    if rows == 0:
        raise ValueError("no rows to resample")
    joined = {name: {**predictions, **truth} for name, predictions in models.items()}
    values = {name: dict(score(arrays)) for name, arrays in joined.items()}
    draws = {name: {metric: np.empty(resamples) for metric in values[name]} for name in models}
    random = np.random.default_rng(seed)
    for at in range(resamples):
        drawn = random.integers(0, rows, size=rows)
        for name, arrays in joined.items():
            for metric, value in score({key: array[drawn] for key, array in arrays.items()}).items():
                draws[name][metric][at] = value
    return {name: Sampled(values[name], draws[name]) for name in models}


def _interval(value: float, draws: Floats) -> Interval:
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [outside, 1 - outside])
    return Interval(float(value), float(low), float(high))
