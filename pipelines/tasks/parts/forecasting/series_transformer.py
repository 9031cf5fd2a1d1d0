"""transformers' TimeSeriesTransformer as a forecaster: an encoder reads the context, a decoder says step after step.

Source: Vaswani et al. 2017 (the network); Salinas et al. 2020, "DeepAR" (lags, scaling and the likelihood). Imports
torch and transformers at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import TimeSeriesTransformerForPrediction

from pipelines.tasks.parts.forecasting.forecaster import Forecast, Shape

PLACES = 3  # numbers that say where a step stands: its share of the context, and the sine and cosine of its season


class SeriesTransformer(nn.Module):
    """Every channel is a series of its own, read by the same network. It learns the likelihood of the next step.

    A forecast is the mean of what it says of a step, given the means of the steps before: the same at every call,
    where transformers' generate() draws a hundred paths. Of covariates to come the last known value stands.
    Shapes: as Forecaster has them; series: (windows x channels, steps).
    """

    steps: Tensor

    def __init__(self, config: Any, shape: Shape) -> None:
        super().__init__()
        self.shape, self.model = shape, TimeSeriesTransformerForPrediction(config)
        self.register_buffer("steps", _steps(shape), persistent=False)

    def forward(self, past: Tensor) -> Tensor:
        """Step after step: the decoder is masked, so those that are not yet said do not matter."""
        series, features, encoded = self._series(past), self._features(past), None
        said = series.new_zeros(len(series), self.shape.horizon)
        for step in range(self.shape.horizon):
            outputs = self._ask(series, features, said, encoded)
            encoded = (outputs.encoder_last_hidden_state,)
            said = torch.cat([said[:, :step], self._means(outputs)[:, step:]], dim=1)
        return self._channels(said)

    def learn(self, past: Tensor, future: Tensor) -> Forecast:
        """The loss, and the mean of each step where those before it are the true ones."""
        outputs = self._ask(self._series(past), self._features(past), self._series(future))
        return Forecast(outputs.loss, self._channels(self._means(outputs)))

    def _ask(self, series: Tensor, features: Tensor, future: Tensor, encoded: tuple[Tensor] | None = None) -> Any:
        return self.model(
            past_values=series,
            past_time_features=features[:, : self.shape.context],
            past_observed_mask=torch.ones_like(series),
            future_values=future,
            future_time_features=features[:, self.shape.context :],
            encoder_outputs=encoded,
        )

    def _means(self, outputs: Any) -> Tensor:
        """(series, horizon)."""
        found: Tensor = self.model.output_distribution(outputs.params, loc=outputs.loc, scale=outputs.scale).mean
        return found

    def _series(self, values: Tensor) -> Tensor:
        return values[:, :, : self.shape.channels].transpose(1, 2).flatten(0, 1)

    def _features(self, past: Tensor) -> Tensor:
        """Of each step of each series, those to come included: (series, context + horizon, features)."""
        covariates = past[:, :, self.shape.channels :]
        to_come = covariates[:, -1:].expand(-1, self.shape.horizon, -1)
        places = self.steps.expand(len(past), -1, -1)
        found = torch.cat([places, torch.cat([covariates, to_come], dim=1)], dim=2)
        return found.repeat_interleave(self.shape.channels, dim=0)

    def _channels(self, said: Tensor) -> Tensor:
        """(series, horizon) -> (windows, horizon, channels)."""
        return said.reshape(-1, self.shape.channels, self.shape.horizon).transpose(1, 2)


def _steps(shape: Shape) -> Tensor:
    """(context + horizon, PLACES)."""
    at = torch.arange(shape.context + shape.horizon) - shape.context
    turn = 2 * torch.pi * at / shape.season
    return torch.stack([at / shape.context, turn.sin(), turn.cos()], dim=1)
