"""What tasks share whose answer is a forecast with an interval: conformal intervals, metrics, simple forecasts, plots.

Arrays of predictions are standardised and flat: (windows, horizon x channels), step after step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.tables.task import Predictions, RowAnswers
from pipelines.tasks.parts.plots import drawn

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.tasks.parts.inputs.series import Series

METRICS: Mapping[str, bool] = {"mse": False, "mae": False, "coverage_error": False, "interval_score": False}
_DIGITS = 9  # that a rank is computed with: 0.9 / (1 - 0.9) is 9.000000000000002
_DRAWN = 8  # windows of the plot of forecasts

Array = np.ndarray[Any, np.dtype[Any]]


def windows_needed(coverage: float) -> int:
    """The fewest windows whose largest error is far enough for intervals of this coverage."""
    return math.ceil(round(coverage / (1 - coverage), _DIGITS))


def half_widths(said: Array, came: Array, coverage: float) -> Array:
    """(horizon, channels): how far intervals reach to both sides, by split conformal prediction.

    said, came: (windows, horizon, channels) of rows that nothing was learnt from. The ceil((n + 1) coverage)-th
    smallest of n absolute errors: were windows exchangeable, that share of new ones or more would be nearer.
    Source: Lei et al. 2018, "Distribution-Free Predictive Inference for Regression", algorithm 2; Vovk et al. 2005.
    Raises ValueError for fewer windows than windows_needed() says.
    """
    rank = math.ceil(round((len(said) + 1) * coverage, _DIGITS))
    if rank > len(said):
        raise ValueError(f"{len(said)} windows, {windows_needed(coverage)} are needed")
    return np.asarray(np.partition(np.abs(said - came), rank - 1, axis=0)[rank - 1])


def predictions(said: Array, widths: Array) -> Predictions:
    """forecast, lower and upper. said: (windows, horizon, channels); widths: as half_widths() has them."""
    parts = {"forecast": said, "lower": said - widths, "upper": said + widths}
    return {name: part.astype(np.float32).reshape(len(said), -1) for name, part in parts.items()}


def measure(predictions: Predictions) -> Predictions:
    """Means over each window's steps and channels. coverage: (windows,), the share that was wanted.

    interval: width, and where the truth lies outside its distance times 2 / (1 - coverage).
    Source: Gneiting & Raftery 2007, "Strictly Proper Scoring Rules", section 6.2.
    """
    said, lower, upper, came = (predictions[name] for name in ("forecast", "lower", "upper", "future"))
    wanted = predictions["coverage"]
    outside = np.maximum(lower - came, 0) + np.maximum(came - upper, 0)
    penalty = 2 / (1 - wanted)
    return {
        "squared": ((said - came) ** 2).mean(axis=1, dtype=np.float64),
        "absolute": np.abs(said - came).mean(axis=1, dtype=np.float64),
        "excess": (outside == 0).mean(axis=1) - wanted,
        "interval": (upper - lower).mean(axis=1, dtype=np.float64) + penalty * outside.mean(axis=1, dtype=np.float64),
    }


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """METRICS, of standardised values. coverage_error: how far the share inside the intervals is from the wanted."""
    total = weights.sum()
    means = {name: float(weights @ values / total) for name, values in measured.items()}
    return {
        "mse": means["squared"],
        "mae": means["absolute"],
        "coverage_error": abs(means["excess"]),
        "interval_score": means["interval"],
    }


def by_row(predictions: Predictions) -> RowAnswers:
    """The mean squared error of each window, of standardised values."""
    return RowAnswers(measure(predictions)["squared"], "mean squared error, standardised")


def answers(predictions: Predictions, known: Series) -> pd.DataFrame:
    """forecast, lower, upper of each window in the rows' own measure: a list, or a list for each of several columns."""
    import pandas as pd

    return pd.DataFrame(
        {name: _lists(own_measure(predictions[name], known), known.values) for name in ("forecast", "lower", "upper")}
    )


def own_measure(flat: Array, known: Series) -> Array:
    """(windows, horizon, channels), no longer standardised. flat: (windows, horizon x channels)."""
    channels = len(known.values)
    values = flat.reshape(len(flat), known.horizon, channels).astype(np.float64)
    return np.asarray(values * np.array(known.deviation[:channels]) + np.array(known.mean[:channels]))


def flat(values: Array, known: Series) -> Array:
    """The reverse of own_measure()."""
    channels = len(known.values)
    scaled = (values - np.array(known.mean[:channels])) / np.array(known.deviation[:channels])
    return np.asarray(scaled.reshape(len(values), -1))


def axis(known: Series) -> list[str]:
    """Names along the second axis of predictions: step and channel."""
    return [f"{step}.{name}" for step in range(1, known.horizon + 1) for name in known.values]


def plots(predictions: Predictions, *, folder: Path, known: Series) -> None:
    """error.png: the error of each step. forecasts.png: some windows of the first channel."""
    shape = (-1, known.horizon, len(known.values))
    errors = (predictions["forecast"] - predictions["future"]).reshape(shape) ** 2
    with drawn(folder / "error.png", 5.6, 3.6) as (axes, _):
        axes.plot(np.arange(1, known.horizon + 1), errors.mean(axis=(0, 2)))
        axes.set(xlabel="step", ylabel="mean squared error", title="Error by step of the horizon")
        axes.set_ylim(bottom=0)
    _forecasts(
        {name: own_measure(predictions[name], known)[:, :, 0] for name in predictions if name != "coverage"},
        known,
        folder / "forecasts.png",
    )


def _forecasts(values: Mapping[str, Array], known: Series, path: Path) -> None:
    windows = np.unique(np.linspace(0, len(values["future"]) - 1, _DRAWN).round().astype(int))
    with drawn(path, 9.0, 3.6, texts=known.values[:1]) as (axes, [column]):
        for place, window in enumerate(windows):
            steps = np.arange(known.horizon) + place * (known.horizon + 2)
            label = {"true": "true", "forecast": "forecast"} if place == 0 else {}
            axes.fill_between(steps, values["lower"][window], values["upper"][window], alpha=0.2, color="C0")
            axes.plot(steps, values["future"][window], color="black", label=label.get("true"))
            axes.plot(steps, values["forecast"][window], color="C0", label=label.get("forecast"))
        title = f"Forecasts with {known.coverage:.0%} intervals"
        axes.set(xlabel=f"steps of {len(windows)} windows", ylabel=column, title=title)
        axes.legend(loc="upper left")


def _lists(values: Array, names: Sequence[str]) -> list[Any]:
    """values: (windows, horizon, channels)."""
    if len(names) == 1:
        return list(values[:, :, 0].tolist())
    return [{name: window[:, at].tolist() for at, name in enumerate(names)} for window in values]
