"""How sure a score is: percentile intervals over resampled test rows (Efron 1979). Pure numpy.

Models that are compared see the same resamples, so that what they share (hard rows, easy rows) cancels out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from core.tables.task import Predictions

CONFIDENCE = 0.95
_TAIL = 10  # draws beyond a quantile that it takes to know it
_ROUNDING = 1e-12  # of metrics that are sums of the same numbers in another order

Floats = np.ndarray[Any, np.dtype[np.float64]]
Score = Callable[[Predictions, Floats], Mapping[str, float]]  # of a task: statistics a row, and each row's weight


@dataclass(frozen=True)
class Interval:
    """A value on all rows, and the two ends that leave (1 - CONFIDENCE) / 2 of the resamples outside on each side."""

    value: float
    low: float
    high: float

    def as_json(self) -> dict[str, float | None]:
        """For JSON, which has no word for what is no number."""
        return {name: value if math.isfinite(value) else None for name, value in asdict(self).items()}


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

    def better_by(self, other: Sampled, metric: str, *, confidence: float, more_is_better: bool) -> Interval:
        """How much better this model is than the other, and the ends of the two one-sided intervals of it."""
        sign = 1.0 if more_is_better else -1.0
        value = sign * (self.values[metric] - other.values[metric])
        draws = sign * (self.draws[metric] - other.draws[metric])
        return Interval(value, lower_end(draws, value, confidence), -lower_end(-draws, -value, confidence))


def lower_end(draws: Floats, value: float, confidence: float) -> float:
    """Lower end of a one-sided percentile interval; where the draws are too few for the tail, a normal one's.

    With a tail of fewer than _TAIL draws the quantile is the normal distribution's, around the value itself.
    """
    if len(draws) * (1 - confidence) >= _TAIL:
        return float(np.quantile(draws, 1 - confidence))
    return float(value - NormalDist().inv_cdf(confidence) * np.std(draws))


def swap_chance(
    one: Predictions, two: Predictions, score: Score, *, draws: int, seed: int, metric: str, more_is_better: bool
) -> float:
    """How probable it is that two equally good models differ at least as much in favour of `one` as these do.

    Row by row the two models' answers change places by a coin's fall, which changes nothing when neither is better:
    an exact test (Fisher 1935; Ernst 2004, Statistical Science 19, section 2) down to a chance of 1 / (draws + 1),
    below which the tail is a normal one. Models that never differ: 1. one, two: each model's statistics a row.
    """
    sign = 1.0 if more_is_better else -1.0
    random = np.random.default_rng(seed)
    rows = len(next(iter(one.values())))
    both = {key: np.concatenate([one[key], two[key]]) for key in one}

    def difference(kept: Floats) -> float:
        mine, theirs = np.concatenate([kept, 1 - kept]), np.concatenate([1 - kept, kept])
        return sign * (score(both, mine)[metric] - score(both, theirs)[metric])

    fallen = [difference((random.random(rows) >= 0.5).astype(float)) for _ in range(draws)]
    return chance_of(difference(np.ones(rows)), np.array(fallen))


def chance_of(seen: float, fallen: Floats) -> float:
    """How probable a difference as large as `seen` is, by the differences that fell by chance."""
    as_large, draws = int((fallen >= seen - _ROUNDING).sum()), len(fallen)
    spread = float(np.std(fallen))
    if as_large or spread == 0:
        return (1 + as_large) / (1 + draws)
    return min(1 / (1 + draws), 1 - NormalDist().cdf(seen / spread))


def means(measured: Predictions, weights: Floats) -> dict[str, float]:
    """A Score whose metrics are the statistics' own means over the rows."""
    return {name: float(weights @ values / weights.sum()) for name, values in measured.items()}


def whole(score: Score, measured: Predictions) -> Mapping[str, float]:
    """The metrics of all rows, each counted once."""
    return score(measured, np.ones(len(next(iter(measured.values())))))


def sample(models: Mapping[str, Predictions], score: Score, *, resamples: int, seed: int) -> dict[str, Sampled]:
    """Score every model on all rows and on `resamples` draws of as many rows with replacement.

    models: name -> statistics of the same rows. Raises ValueError without rows.
    """
    rows = len(next(iter(next(iter(models.values())).values())))
    if rows == 0:
        raise ValueError("no rows to resample")
    values = {name: whole(score, measured) for name, measured in models.items()}
    draws = {name: {metric: np.empty(resamples) for metric in values[name]} for name in models}
    for at, times in enumerate(resampled(rows, resamples=resamples, seed=seed)):
        for name, measured in models.items():
            for metric, value in score(measured, times).items():
                draws[name][metric][at] = value
    return {name: Sampled(values[name], draws[name]) for name in models}


def resampled(rows: int, *, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each row is drawn, (rows,), for each of `resamples` draws of as many rows with replacement."""
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(random.integers(0, rows, size=rows), minlength=rows).astype(float)


def ends() -> tuple[float, float]:
    """The two quantiles of the draws between which an interval of CONFIDENCE lies."""
    outside = (1 - CONFIDENCE) / 2
    return outside, 1 - outside


def _interval(value: float, draws: Floats) -> Interval:
    low, high = np.quantile(draws, ends())
    return Interval(float(value), float(low), float(high))
