"""What tasks share whose answer is one number a row: its scale, metrics, the trivial baseline, plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.atomic_files import read_json, write_json
from core.errors import BadData
from core.tables.task import Predictions, RowAnswers
from pipelines.tasks.parts.plots import drawn

if TYPE_CHECKING:
    import pandas as pd

    from core.tables.learner import History

METRICS: Mapping[str, bool] = {"rmse": False, "mae": False, "r2": True}
SAID, TRUE = "number", "true"  # of predictions, and of the truth
_FILE = "scale.json"
_SHOWN = 5_000  # rows that a plot has room for

Array = np.ndarray[Any, np.dtype[Any]]


def prepare(batches: Iterable[pd.Series[float]], folder: Path) -> None:
    """Learn mean and deviation of the training rows' numbers. Raises BadData where all are the same."""
    count, mean, squares = 0, 0.0, 0.0
    for numbers in batches:  # Chan, Golub and LeVeque 1983: the sums of parts, joined without loss of digits
        values = numbers.to_numpy(np.float64)
        own, total = float(values.mean()), count + len(values)
        squares += float(((values - own) ** 2).sum()) + (own - mean) ** 2 * count * len(values) / total
        mean += (own - mean) * len(values) / total
        count = total
    if squares <= 0:
        raise BadData(f"the training rows all have the number {mean:g}. There is nothing to learn.")
    write_json(folder / _FILE, {"mean": mean, "deviation": float(np.sqrt(squares / count))})


def read(folder: Path) -> tuple[float, float]:
    """Mean and deviation, as prepare() left them."""
    found = read_json(folder / _FILE)
    return found["mean"], found["deviation"]


def constant(number: float, rows: int) -> Predictions:
    """The same number for every row."""
    return {SAID: np.full(rows, number)}


def answers(predictions: Predictions) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({SAID: predictions[SAID]})


def measure(predictions: Predictions) -> Predictions:
    """The error of each row, and what is true."""
    return {"error": predictions[SAID] - predictions[TRUE], TRUE: predictions[TRUE]}


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """METRICS: root of the mean squared error and mean absolute error, in the target's measure; the share explained.

    R2 counts from the mean of these rows: 0 for who says it always. Where all are the same it is 0.
    """
    error, true, rows = measured["error"], measured[TRUE], weights.sum()
    squared = float(weights @ error**2 / rows)
    spread = float(weights @ (true - weights @ true / rows) ** 2 / rows)
    return {
        "rmse": float(np.sqrt(squared)),
        "mae": float(weights @ np.abs(error) / rows),
        "r2": 1 - squared / spread if spread > 0 else 0.0,
    }


def by_row(predictions: Predictions) -> RowAnswers:
    """How far each number is from the true one; both as they are, so that equal words are equal numbers."""
    said, true = (predictions[name].astype(float) for name in (SAID, TRUE))
    return RowAnswers(
        np.abs(said - true), "off by", [repr(each) for each in said.tolist()], list(map(repr, true.tolist()))
    )


def validated(said: Array, true: Array) -> History:
    """What is told of a model that was fitted in one go."""
    found = score(measure({SAID: said, TRUE: true}), np.ones(len(true)))
    return [{"step": 1, **{f"eval_{name}": value for name, value in found.items()}}]


def plots(predictions: Predictions, *, folder: Path) -> None:
    """true-said.png: each row's number beside the true one. errors.png: how far they are apart."""
    said, true = predictions[SAID][:_SHOWN], predictions[TRUE][:_SHOWN]
    ends = [float(min(said.min(), true.min())), float(max(said.max(), true.max()))]
    with drawn(folder / "true-said.png", 4.4, 4.2) as (axes, _):
        axes.plot(ends, ends, color="grey", linestyle="--", label="as it is")
        axes.scatter(true, said, s=8, alpha=0.5)
        axes.set(xlabel="true", ylabel="predicted", title="Predicted and true number of each row")
        axes.legend(loc="upper left")
    with drawn(folder / "errors.png", 4.4, 3.2) as (axes, _):
        axes.hist(predictions[SAID] - predictions[TRUE], bins=40)
        axes.axvline(0, color="grey", linestyle="--")
        axes.set(xlabel="predicted minus true", ylabel="rows", title="Errors")
