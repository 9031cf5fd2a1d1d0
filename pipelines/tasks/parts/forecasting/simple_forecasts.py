"""Forecasts without an optimizer: last value, last season, a linear map by least squares. Imports torch at once.

They are what every model is compared with, and models themselves where a recipe names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from core.tables.learner import History
from core.tables.task import Predictions
from pipelines.tasks.parts.answers import forecasts
from pipelines.tasks.parts.forecasting.forecast_learner import forecast, half_widths, windows_of
from pipelines.tasks.parts.forecasting.forecaster import Forecaster, LastValue, Linear, SeasonalNaive, Shape
from pipelines.tasks.parts.inputs.contexts import contexts
from pipelines.tasks.parts.inputs.series import Series, windows
from pipelines.tasks.parts.inputs.windows import Windows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

FITTED = 50_000  # training windows that the linear map is fitted to, spread over all
_AT_ONCE = 512
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass
class SimpleLearner:
    """Fits a linear map; the others have nothing to fit."""

    module: Forecaster
    known: Series

    def fit(self, train: pa.Table, validation: pa.Table) -> History:
        """validation: not asked."""
        if isinstance(self.module.network, Linear):
            found = windows(self.known)
            found.add(train)
            fit_linear(self.module.network, found)
        return []


def baselines(prepared: Path, units: pd.DataFrame, known: Series, shape: Shape) -> Mapping[str, Predictions]:
    """Forecasts of the units; their intervals come from the validation windows, as the model's do."""
    found, past = windows_of(prepared, known), contexts(units, known)
    linear = Linear(shape)
    fit_linear(linear, found)
    said = {}
    networks = {"last_value": LastValue(shape), "seasonal_naive": SeasonalNaive(shape), "linear": linear}
    for name, network in networks.items():
        module = Forecaster(network)
        said[name] = forecasts.predictions(forecast(module, past), half_widths(module, found, known))
    return said


def fit_linear(network: Linear, found: Windows) -> None:
    """Give the network the map of least squared error, weights' squares times its ridge included.

    found: training windows come first. Fitted to at most FITTED of them.
    """
    places, shape = found.found[0], network.weight.shape  # (1 + covariates, channels, context, horizon)
    some = places[np.unique(np.linspace(0, len(places) - 1, FITTED).round().astype(np.int64))]
    features = shape[0] * shape[2] + 1
    inner, outer = np.zeros((shape[1], features, features)), np.zeros((shape[1], features, shape[3]))
    for start in range(0, len(some), _AT_ONCE):
        past, came = (part.astype(np.float64) for part in found.take(some[start : start + _AT_ONCE]))
        last = past[:, -1:]
        inputs = _inputs(past - last, shape[1])
        turned = inputs.transpose(0, 2, 1)
        inner += turned @ inputs
        outer += turned @ (came - last)[:, :, : shape[1]].transpose(2, 0, 1)
    solved = torch.from_numpy(np.linalg.solve(inner + network.ridge * np.eye(features), outer)).float()
    with torch.no_grad():
        network.weight.copy_(solved[:, :-1].reshape(shape[1], shape[0], *shape[2:]).transpose(0, 1))
        network.bias.copy_(solved[:, -1])


def _inputs(moved: Array, channels: int) -> Array:
    """(channels, windows, features): a channel's own context, each covariate's, and a one.

    moved: (windows, context, columns), counted from the last step.
    """
    others = moved[:, :, channels:].transpose(0, 2, 1).reshape(len(moved), -1)
    ones = np.ones((len(moved), 1))
    return np.stack([np.concatenate([moved[:, :, at], others, ones], axis=1) for at in range(channels)])
