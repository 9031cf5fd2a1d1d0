"""How forecasters learn, and what a learnt one answers with. Imports torch at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from core.atomic_files import read_json, write_json
from core.errors import BadData
from core.tables.learner import Row, TorchLearner
from core.tables.prepared import read_features
from core.tables.task import Interface, Predictions
from core.weights.device import ready
from pipelines.tasks.parts.answers import forecasts
from pipelines.tasks.parts.forecasting.forecaster import Forecast, Forecaster
from pipelines.tasks.parts.forecasting.series_transformer import SeriesTransformer
from pipelines.tasks.parts.inputs.contexts import contexts
from pipelines.tasks.parts.inputs.series import Series, windows
from pipelines.tasks.parts.inputs.windows import START, Windows

if TYPE_CHECKING:
    import pandas as pd

CALIBRATED = 20_000  # validation windows that intervals are made of, spread over all
_AT_ONCE = 256  # windows
_INTERVALS = "intervals.json"
Array = np.ndarray[Any, np.dtype[Any]]


def torch_learner(module: Forecaster, known: Series) -> TorchLearner:
    """How a forecaster learns from encoded rows; it reports the mean absolute error beside the loss."""
    found = windows(known)

    def collate(rows: list[Row]) -> dict[str, Tensor]:
        past, future = found.take(np.array([row[START] for row in rows]))
        return {"past": torch.from_numpy(past), "future": torch.from_numpy(future[:, :, : len(known.values)])}

    def watch(said: Forecast, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"mae": (said.forecast - batch["future"]).abs().mean(dim=(1, 2)).sum()}

    return TorchLearner(module, collate, features=found.add, watch=watch)


def forecast(module: nn.Module, past: Array) -> Array:
    """(windows, horizon, channels) of what was, (windows, context, columns)."""
    device = ready(module)
    said = []
    with torch.inference_mode():
        for start in range(0, len(past), _AT_ONCE):
            part = torch.from_numpy(past[start : start + _AT_ONCE]).to(device)
            said.append(module(past=part).forecast.cpu().numpy())
    return np.concatenate(said)


def windows_of(prepared: Path, known: Series) -> Windows:
    """The windows of the training and the validation rows."""
    found = windows(known)
    for split in ("train", "validation"):
        found.add(read_features(prepared, split))
    return found


def check_validation(found: Windows, known: Series) -> None:
    """Raise BadData when the validation windows are too few for intervals. found: as windows_of() has them."""
    windows, needed = len(found.found[1]), forecasts.windows_needed(known.coverage)
    if windows < needed:
        raise BadData(
            f"intervals of {known.coverage:.0%} are made of at least {needed:,} validation windows, and there are "
            f"{windows:,}: runs of {known.horizon:,} steps of the validation split, right behind {known.context:,} "
            "that may be training rows where no data.split.gap lies between. Give validation more rows, or lower "
            "preprocess.coverage."
        )


def half_widths(module: nn.Module, found: Windows, known: Series) -> Array:
    """(horizon, channels): how far intervals reach, by the validation windows, which nothing was learnt from.

    found: as windows_of() has them, enough of them.
    """
    places = found.found[1]
    some = places[np.unique(np.linspace(0, len(places) - 1, CALIBRATED).round().astype(np.int64))]
    said, came = [], []
    for start in range(0, len(some), _AT_ONCE):
        past, future = found.take(some[start : start + _AT_ONCE])
        said.append(forecast(module.eval(), past))
        came.append(future[:, :, : len(known.values)])
    return forecasts.half_widths(np.concatenate(said), np.concatenate(came), known.coverage)


def write_intervals(widths: Array, folder: Path) -> None:
    write_json(folder / _INTERVALS, widths.round(6).tolist())


class ForecastPredictor:
    """A forecaster with its intervals. folder: where write_intervals() left them."""

    def __init__(self, module: Forecaster, known: Series, folder: Path) -> None:
        self.module, self.known = module, known
        self.widths = np.array(read_json(folder / _INTERVALS), np.float32)

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        return forecasts.predictions(forecast(self.module, contexts(rows, self.known)), self.widths)

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return forecasts.answers(predictions, self.known)


class GraphForecastPredictor(ForecastPredictor):
    """One that can be exported: all steps are said at once. A graph of step after step would be as long as they are."""

    def interface(self) -> Interface:
        past = torch.zeros(2, self.known.context, len(self.known.columns))
        return Interface({"past": past}, {"past": ("windows", None, None)}, ("forecast",))


def predictor(module: Forecaster, known: Series, folder: Path) -> ForecastPredictor:
    """Who asks a forecaster. folder: where write_intervals() left its intervals."""
    stepwise = isinstance(module.network, SeriesTransformer)
    return (ForecastPredictor if stepwise else GraphForecastPredictor)(module, known, folder)
