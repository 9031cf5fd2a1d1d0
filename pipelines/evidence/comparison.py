"""predictions.parquet of a candidate, and of the champion -> how much better the candidate is, as the gates ask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.tables.keys import name_among
from core.tables.predictions import axis_names, read_predictions
from core.tables.statistics import sample, swap_chance, whole
from core.tables.task import Predictions, Task
from registry.promotion.gate import NoRival, Paired, corrected

RESAMPLES = 2000  # more than the report's: the gate reads the tail
SWAPS = 2000
SEED = 7


@dataclass(frozen=True)
class Yardstick:
    """What is compared: a metric, the confidence of the one-sided intervals, and how often these rows were asked.

    baseline: the one to compare with; None: the best.
    """

    task: Task
    metric: str
    confidence: float
    asked: int = 1
    baseline: str | None = None

    @property
    def more_is_better(self) -> bool:
        return self.task.metrics[self.metric]


def against_baseline(predictions: Path, by: Yardstick) -> Paired | NoRival:
    """The candidate against the baseline that is named, or is best by the metric."""
    answered = read_predictions(predictions)
    for name, said in {"the model": answered.model, **answered.baselines}.items():
        if not _all_numbers(said):
            return NoRival(f"not every prediction of {name} is a number", in_order=False)
    values = {name: _value(said, answered.truth, by) for name, said in answered.baselines.items()}
    if not values:
        return NoRival("the evaluation has no baseline to compare with", in_order=False)
    unknown = [name for name, value in values.items() if not math.isfinite(value)]
    if unknown:
        return NoRival(f"{by.metric} of the baseline {unknown[0]} is no number", in_order=False)
    if by.baseline is not None and by.baseline not in values:
        return NoRival(f"there is no baseline {by.baseline!r}, only {', '.join(values)}", in_order=False)
    other = by.baseline or (max if by.more_is_better else min)(values, key=values.__getitem__)
    return _paired(other, answered.model, answered.baselines[other], answered.truth, by)


@dataclass(frozen=True)
class Common:
    """The rows that two models answered, in the order of their ids; what is true is taken from the second model.

    first, second: what each said about them, their columns in one order, a 0 for a label that a model does not know.
    axes: names along the second axis of two-dimensional arrays, as a Task's axes() has them.
    asked: how many rows each model was asked about.
    """

    row_ids: list[str]
    first: Predictions
    second: Predictions
    truth: Predictions
    axes: dict[str, list[str]]
    asked: tuple[int, int]

    @property
    def share(self) -> float:
        """Of the second model's rows, those that both answered."""
        return len(self.row_ids) / self.asked[1] if self.asked[1] else 0.0


def common_rows(first: Path, second: Path, called: str) -> Common | NoRival:
    """What two models said about the rows that both answered; or why that cannot be compared.

    first, second: their predictions.parquet. called: the first one's name in the reasons.
    """
    theirs, mine = read_predictions(first), read_predictions(second)
    if mine.model.keys() != theirs.model.keys():
        return NoRival(f"{called} predicts something else ({', '.join(theirs.model)})", in_order=False)
    if not (_all_numbers(mine.model) and _all_numbers(theirs.model)):
        return NoRival(f"not every prediction of the model or of {called} is a number", in_order=False)
    both, here, there = np.intersect1d(mine.row_ids, theirs.row_ids, return_indices=True)
    asked = (len(theirs.row_ids), len(mine.row_ids))
    if not len(both):
        return Common([], {}, {}, {}, {}, asked)
    names, wanted = axis_names(first), axis_names(second)
    order = {key: _order(names[key], wanted[key]) for key in names.keys() & wanted.keys()}
    aligned = {
        key: _columns(array, names[key], order[key]) if key in order else array
        for key, array in _rows(theirs.model, there).items()
    }
    if other := [
        key for key, array in aligned.items() if key not in order and array.shape[1:] != mine.model[key].shape[1:]
    ]:
        return NoRival(f"{called} has other {other[0]}, and does not say which", in_order=False)
    return Common(
        both.tolist(),
        aligned,
        _widened(_rows(mine.model, here), aligned),
        _rows(mine.truth, here),
        {**names, **wanted, **order},
        asked,
    )


def against_champion(predictions: Path, champion: Path, name: str, by: Yardstick) -> Paired | NoRival:
    """The candidate against what the champion said about the same rows; what is true is taken from the candidate.

    champion: its predictions.parquet. name: what the reasons call it.
    """
    found = common_rows(champion, predictions, name)
    if isinstance(found, NoRival):
        return found
    if not found.row_ids:
        return Paired(name, by.metric, math.nan, math.nan, rows=0, common=found.share)
    if not math.isfinite(_value(found.first, found.truth, by)):
        return NoRival(f"{by.metric} of {name} on these rows is no number: it was asked about others", in_order=False)
    return _paired(name, found.second, found.first, found.truth, by, common=found.share)


def _paired(
    name: str, model: Predictions, other: Predictions, truth: Predictions, by: Yardstick, *, common: float = 1.0
) -> Paired:
    confidence = corrected(by.confidence, by.asked)
    mine, theirs = (by.task.measure({**said, **truth}) for said in (model, other))
    drawn = sample({"model": mine, "other": theirs}, by.task.score, resamples=RESAMPLES, seed=SEED)
    found = drawn["model"].better_by(drawn["other"], by.metric, confidence=confidence, more_is_better=by.more_is_better)
    chance = swap_chance(
        mine, theirs, by.task.score, draws=SWAPS, seed=SEED, metric=by.metric, more_is_better=by.more_is_better
    )
    rows = len(next(iter(truth.values())))
    return Paired(
        name, by.metric, found.value, found.low, found.high, chance=chance, confidence=confidence, rows=rows,
        common=common, asked=by.asked,
    )  # fmt: skip


def _all_numbers(said: Predictions) -> bool:
    return all(np.isfinite(array).all() for array in said.values() if array.dtype.kind == "f")


def _value(said: Predictions, truth: Predictions, by: Yardstick) -> float:
    return whole(by.task.score, by.task.measure({**said, **truth}))[by.metric]


def _rows(arrays: Predictions, positions: np.ndarray[Any, Any]) -> Predictions:
    return {name: array[positions] for name, array in arrays.items()}


def _widened(mine: Predictions, theirs: Predictions) -> Predictions:
    """The candidate's arrays with a 0 for what only the champion knows."""
    return {
        name: array if array.ndim == 1 else np.pad(array, ((0, 0), (0, theirs[name].shape[1] - array.shape[1])))
        for name, array in mine.items()
    }


def _order(names: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The columns of both: the candidate's, then those that only the champion knows."""
    known = set(wanted)
    return list(dict.fromkeys([*wanted, *(name_among(name, known) for name in names)]))


def _columns(array: np.ndarray[Any, Any], names: Sequence[str], order: Sequence[str]) -> np.ndarray[Any, Any]:
    """The champion's columns in an order of _order(), a 0 for those that it does not know.

    What an earlier commit took for two labels (0 and 0.0) may be one now: then they add up.
    """
    known = set(order)
    place = {name: at for at, name in enumerate(order)}
    found = np.zeros((len(array), len(order)), dtype=array.dtype)
    for at, name in enumerate(names):
        found[:, place[name_among(name, known)]] += array[:, at]
    return found
