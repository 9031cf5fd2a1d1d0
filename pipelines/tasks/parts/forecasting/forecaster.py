"""Networks that say what comes of what was: an LSTM or GRU, a linear map, PatchTST. Imports torch at once.

All of them take and give standardised values, and all make the last value, or the mean, of a context their zero: the
level of a series moves from one year to the next (Kim et al. 2022, "Reversible Instance Normalization").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

_FLAT = 1e-5  # added to the variance of a context, as in transformers' PatchTST


@dataclass(frozen=True)
class Shape:
    """context, horizon, season: steps. channels: columns that are forecast. covariates: those behind them."""

    context: int
    horizon: int
    channels: int
    covariates: int = 0
    season: int = 1


@dataclass
class Forecast:
    """forecast: (windows, horizon, channels). loss: of it, where the future was given."""

    loss: Tensor | None
    forecast: Tensor


@runtime_checkable
class Learning(Protocol):
    """A network with a loss of its own."""

    def learn(self, past: Tensor, future: Tensor) -> Forecast:
        """What it says while it learns, and the loss."""


class Forecaster(nn.Module):
    """A network with the loss that it learns by: mean squared error, if it has none of its own.

    past: (windows, context, columns). future: (windows, horizon, channels). config: what config.json says of it.
    """

    def __init__(self, network: nn.Module, config: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.network, self.config = network, dict(config or {})

    def forward(self, past: Tensor, future: Tensor | None = None) -> Forecast:
        if future is not None and isinstance(self.network, Learning):
            return self.network.learn(past, future)
        forecast = self.network(past)
        loss = None if future is None else nn.functional.mse_loss(forecast, future)
        return Forecast(loss, forecast)


class LastValue(nn.Module):
    """The last step, for every step to come."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, past: Tensor) -> Tensor:
        return past[:, -1:, : self.shape.channels].expand(-1, self.shape.horizon, -1)


class SeasonalNaive(nn.Module):
    """Each step as it was one season before: the last season of the context, again and again."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, past: Tensor) -> Tensor:
        season = past[:, -self.shape.season :, : self.shape.channels]
        times = -(-self.shape.horizon // self.shape.season)
        return season.repeat(1, times, 1)[:, : self.shape.horizon]


class Linear(nn.Module):
    """One linear map from context to horizon a channel, counted from the last value; covariates add a map each.

    Source: NLinear of Zeng et al. 2022, "Are Transformers Effective for Time Series Forecasting?", section 4.
    """

    def __init__(self, shape: Shape, *, ridge: float = 1.0) -> None:
        super().__init__()
        self.channels, self.ridge = shape.channels, ridge  # what simple_forecasts.py fits by
        maps = (1 + shape.covariates, shape.channels)
        self.weight = nn.Parameter(torch.full((*maps, shape.context, shape.horizon), 1 / shape.context))
        self.bias = nn.Parameter(torch.zeros(shape.channels, shape.horizon))

    def forward(self, past: Tensor) -> Tensor:
        last = past[:, -1:]
        moved = (past - last).transpose(1, 2)
        own, others = moved[:, : self.channels], moved[:, self.channels :]
        parts = [own, *(others[:, [at]].expand_as(own) for at in range(others.shape[1]))]
        said = torch.einsum("wmcl,mclh->whc", torch.stack(parts, dim=1), self.weight)
        return said + self.bias.T + last[:, :, : self.channels]


class Lstm(nn.Module):
    """An LSTM over one channel's context (and the covariates'), the same for each channel.

    Its last state says all steps at once, so that no step is made from another forecast. Channels that are read
    together fit the training rows better and later ones worse: on ETTh1's validation rows .496, apart .419.
    """

    kind: Callable[..., nn.RNNBase] = nn.LSTM
    name = "lstm"  # of the network among the weights

    def __init__(self, shape: Shape, *, hidden_size: int = 64, num_layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.shape = shape
        self.add_module(self.name, self.kind(1 + shape.covariates, hidden_size, num_layers, batch_first=True))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size, shape.horizon)

    def forward(self, past: Tensor) -> Tensor:
        channels = self.shape.channels
        mean = past.mean(dim=1, keepdim=True)
        deviation = (past.var(dim=1, keepdim=True, correction=0) + _FLAT).sqrt()
        scaled = (past - mean) / deviation
        others = scaled[:, :, None, channels:].expand(-1, -1, channels, -1)
        inputs = torch.cat([scaled[:, :, :channels, None], others], dim=3)  # (windows, context, channels, features)
        states, _ = self.get_submodule(self.name)(inputs.transpose(1, 2).flatten(0, 1))
        said = self.head(self.dropout(states[:, -1])).unflatten(0, (-1, channels)).transpose(1, 2)
        forecast: Tensor = said * deviation[:, :, :channels] + mean[:, :, :channels]
        return forecast


class Gru(Lstm):
    """The same with gated recurrent units. Source: Cho et al. 2014."""

    kind = nn.GRU
    name = "gru"


class PatchTst(nn.Module):
    """transformers' PatchTSTForPrediction, which standardises each context itself; its own loss is not asked.

    Source: Nie et al. 2023, "A Time Series is Worth 64 Words".
    """

    def __init__(self, config: Any, shape: Shape) -> None:
        from transformers import PatchTSTForPrediction

        super().__init__()
        self.channels, self.model = shape.channels, PatchTSTForPrediction(config)

    def forward(self, past: Tensor) -> Tensor:
        forecast: Tensor = self.model(past_values=past).prediction_outputs[:, :, : self.channels]
        return forecast
