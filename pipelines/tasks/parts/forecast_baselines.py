"""What simple methods forecast: last value, last season, and a linear map by least squares. Imports torch at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from core.tables.task import Predictions
from pipelines.tasks.parts.answers import forecasts
from pipelines.tasks.parts.forecast_learner import forecast, half_widths_of
from pipelines.tasks.parts.forecaster import Forecaster, LastValue, Linear, SeasonalNaive, Shape
from pipelines.tasks.parts.inputs import series
from pipelines.tasks.parts.inputs.contexts import contexts
from pipelines.tasks.parts.inputs.windows import Windows

if TYPE_CHECKING:
    import pandas as pd

FITTED = 50_000  # training windows that the linear map is fitted to, spread over all
_RIDGE = 1.0  # added to the diagonal of sums over windows: next to nothing, and never singular
_AT_ONCE = 512
Array = np.ndarray[Any, np.dtype[Any]]


def baselines(
    train: pd.DataFrame, validation: pd.DataFrame, units: pd.DataFrame, known: series.Series, shape: Shape
) -> Mapping[str, Predictions]:
    """Forecasts of the units; their intervals come from the validation windows, as the model's do."""
    found = series.windows(known)
    for rows in (train, validation):
        found.add(series.encode(rows, known))
    past = contexts(units, known)
    modules = {"last_value": LastValue(shape), "seasonal_naive": SeasonalNaive(shape), "linear": fitted(found, shape)}
    said = {}
    for name, network in modules.items():
        module = Forecaster(network)
        said[name] = forecasts.predictions(forecast(module, past), half_widths_of(module, found, known))
    return said


def fitted(found: Windows, shape: Shape) -> Linear:
    """The linear map of least squared error over the training windows (covariates are not asked)."""
    places = found.found[0]
    some = places[np.unique(np.linspace(0, len(places) - 1, FITTED).round().astype(np.int64))]
    inner = np.zeros((shape.channels, shape.context + 1, shape.context + 1))
    outer = np.zeros((shape.channels, shape.context + 1, shape.horizon))
    for start in range(0, len(some), _AT_ONCE):
        past, came = (
            part[:, :, : shape.channels].transpose(2, 0, 1) for part in found.take(some[start : start + _AT_ONCE])
        )
        last = past[:, :, -1:].astype(np.float64)
        inputs = np.concatenate([past - last, np.ones_like(last)], axis=2)
        inner += inputs.transpose(0, 2, 1) @ inputs
        outer += inputs.transpose(0, 2, 1) @ (came - last)
    solved = torch.from_numpy(np.linalg.solve(inner + _RIDGE * np.eye(shape.context + 1), outer)).float()
    network = Linear(shape)
    with torch.no_grad():
        network.weight.zero_()
        network.weight[0].copy_(solved[:, :-1])
        network.bias.copy_(solved[:, -1])
    return network
