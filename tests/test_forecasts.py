"""Forecasts: conformal intervals, metrics by hand, simple forecasts by hand, networks that learn and are saved."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from core.errors import BadRequest
from core.schema.model import Architecture
from core.tables.statistics import whole
from core.tables.task import Base
from pipelines.tasks.parts.answers import forecasts
from pipelines.tasks.parts.forecasting import forecaster_base
from pipelines.tasks.parts.forecasting.forecaster import Forecaster, LastValue, Linear, SeasonalNaive, Shape
from pipelines.tasks.parts.forecasting.simple_forecasts import fit_linear
from pipelines.tasks.parts.inputs.windows import Windows

SHAPE = Shape(context=12, horizon=4, channels=2, covariates=0, season=3)
TINY = {
    "lstm": {"hidden_size": 8},
    "patchtst": {"patch_length": 4, "patch_stride": 4, "d_model": 8, "num_hidden_layers": 1, "ffn_dim": 16},
    "gru": {"hidden_size": 8},
    "time_series_transformer": {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1},
}


def of(architecture: str, **settings: object) -> Base:
    return Base(Architecture(architecture=architecture, settings=settings), None, None)


def made(name: str, shape: Shape = SHAPE, *, seed: int = 7) -> Forecaster:
    base = of(name, **TINY.get(name, {}))
    return forecaster_base.build(forecaster_base.config_of(base, shape), base, shape, seed=seed)


def waves(windows: int, shape: Shape) -> tuple[torch.Tensor, torch.Tensor]:
    """Sine waves of other phases: (windows, context, columns) and (windows, horizon, channels)."""
    columns = shape.channels + shape.covariates
    start = torch.arange(windows * columns).view(windows, 1, columns) * 0.7
    wave = torch.sin(start + torch.arange(shape.context + shape.horizon).view(1, -1, 1) * 0.8)
    return wave[:, : shape.context], wave[:, shape.context :, : shape.channels]


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_intervals_cover_what_they_should(coverage: float) -> None:
    """On exchangeable noise the mean cover lies between the wanted share and the wanted share + 1 / (n + 1)."""
    random, known, new = np.random.default_rng(1), 39, 2000
    shares = []
    for _ in range(300):
        errors = random.standard_t(3, (known + new, 2, 1)) * np.array([[1.0], [5.0]])
        widths = forecasts.half_widths(np.zeros((known, 2, 1)), errors[:known], coverage)
        shares.append((np.abs(errors[known:]) <= widths).mean(axis=(0, 2)))
    rank = math.ceil((known + 1) * coverage)
    np.testing.assert_allclose(np.mean(shares, axis=0), rank / (known + 1), atol=0.01)


def test_intervals_by_hand() -> None:
    """Nine errors, 80 %: the 8th smallest; of each step and channel on its own."""
    came = np.arange(1.0, 10.0).reshape(9, 1, 1) * np.array([1.0, -10.0])
    assert forecasts.half_widths(np.zeros_like(came), came, 0.8).tolist() == [[8.0, 80.0]]
    with pytest.raises(ValueError, match="8 windows, 9 are needed"):
        forecasts.half_widths(came[:8], came[:8], 0.9)


def test_metrics_by_hand() -> None:
    """Two windows of two steps; interval score: width, and ten times what lies outside at 80 %."""
    said = forecasts.predictions(np.zeros((2, 2, 1)), np.full((2, 1), 2.0))
    truth = {"future": np.array([[1.0, -1.0], [0.0, 3.0]]), "coverage": np.full(2, 0.8)}
    measured = forecasts.measure({**said, **truth})
    assert whole(forecasts.score, measured) == pytest.approx(
        {"mse": 11 / 4, "mae": 5 / 4, "coverage_error": 0.05, "interval_score": 4 + 10 / 4}
    )
    first = forecasts.score(measured, np.array([1.0, 0.0]))
    assert first == pytest.approx({"mse": 1.0, "mae": 1.0, "coverage_error": 0.2, "interval_score": 4.0})
    assert forecasts.METRICS.keys() == first.keys()


def test_simple_forecasts_by_hand() -> None:
    past = torch.arange(6.0).view(1, 6, 1)
    shape = Shape(context=6, horizon=5, channels=1, season=3)
    assert SeasonalNaive(shape)(past).flatten().tolist() == [3, 4, 5, 3, 4]
    assert LastValue(shape)(past).flatten().tolist() == [5, 5, 5, 5, 5]
    weekly = Shape(context=6, horizon=2, channels=1, season=6)
    assert SeasonalNaive(weekly)(past).flatten().tolist() == [0, 1]


def test_the_linear_map_is_a_map_a_channel_with_covariates() -> None:
    """Against the definition, channel by channel in numpy."""
    shape = Shape(context=5, horizon=3, channels=2, covariates=1)
    network, past = Linear(shape), torch.randn(4, 5, 3)
    torch.nn.init.normal_(network.weight)
    torch.nn.init.normal_(network.bias)
    weight, bias = network.weight.detach().numpy(), network.bias.detach().numpy()
    moved = past.numpy() - past.numpy()[:, -1:]
    for channel in range(2):
        expected = moved[:, :, channel] @ weight[0, channel] + moved[:, :, 2] @ weight[1, channel] + bias[channel]
        said = network(past).detach().numpy()[:, :, channel]
        np.testing.assert_allclose(said, expected + past.numpy()[:, -1:, channel], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("covariates", [0, 1])
@pytest.mark.parametrize("name", TINY)
def test_one_batch_is_overfitted(name: str, covariates: int) -> None:
    shape = Shape(context=12, horizon=4, channels=2, covariates=covariates)
    module, (past, future) = made(name, shape), waves(8, shape)
    optimizer = torch.optim.Adam(module.parameters(), lr=2e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = module(past, future).loss
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        assert torch.nn.functional.mse_loss(module.eval()(past).forecast, future) < 0.1


@pytest.mark.parametrize("name", [*TINY, "linear", "seasonal_naive", "last_value"])
def test_a_saved_forecaster_says_the_same(name: str, tmp_path: Path) -> None:
    module, (past, future) = made(name), waves(8, SHAPE)
    module(past, future)  # moves what only moves in training: a batch norm's means
    forecaster_base.save(module, tmp_path)
    loaded = forecaster_base.load(tmp_path, SHAPE)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(past).forecast, module.eval()(past).forecast)
    base = Base("./saved", tmp_path, "0" * 64)
    config = forecaster_base.config_of(base, SHAPE)
    again = forecaster_base.build(config, base, SHAPE, seed=1)
    with torch.inference_mode():
        torch.testing.assert_close(again.eval()(past).forecast, module(past).forecast)


def test_transformers_reads_a_saved_patchtst(tmp_path: Path) -> None:
    from transformers import PatchTSTForPrediction

    module, (past, _) = made("patchtst"), waves(8, SHAPE)
    forecaster_base.save(module, tmp_path)
    other = PatchTSTForPrediction.from_pretrained(tmp_path)
    with torch.inference_mode():
        torch.testing.assert_close(other(past_values=past).prediction_outputs, module.eval()(past).forecast)


def test_a_step_is_said_from_those_before_it_alone() -> None:
    """The transformer's forecast, by hand: each step from the means of those before, whatever stands behind it."""
    module, (past, future) = made("time_series_transformer").eval(), waves(8, SHAPE)
    with torch.inference_mode():
        forecast, told = module(past).forecast, torch.full_like(future, 9.0)
        for step in range(SHAPE.horizon):
            told[:, step] = module(past, told).forecast[:, step]
    torch.testing.assert_close(forecast, told)


@pytest.mark.parametrize("name", TINY)
def test_covariates_reach_the_forecast(name: str) -> None:
    """PatchTST's channels attend to each other where there are covariates; without them each is on its own."""
    shape = Shape(context=12, horizon=4, channels=2, covariates=1)
    module, (past, _) = made(name, shape).eval(), waves(8, shape)
    other = past.clone()
    other[:, :, 2] = other[:, :, 2].flip(1)
    with torch.inference_mode():
        assert not torch.allclose(module(past).forecast, module(other).forecast)


@pytest.mark.parametrize("covariates", [0, 1])
def test_the_linear_map_is_that_of_least_squares(covariates: int) -> None:
    """Against numpy's lstsq over the same windows, channel by channel; ridge is next to nothing."""
    random, shape = np.random.default_rng(1), Shape(context=4, horizon=2, channels=2, covariates=covariates)
    values = random.normal(size=(300, 2 + covariates)).cumsum(axis=0).astype(np.float32)
    found = Windows(context=4, horizon=2, longest=1.5)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])
    found.add(pa.table({"series": np.zeros(300, np.int64), "time": np.arange(300.0), "values": column}))
    network = Linear(shape, ridge=1e-9)
    fit_linear(network, found)
    past, came = found.take(found.found[0])
    last = past[:, -1:]
    for channel in range(2):
        parts = [past[:, :, at] - last[:, :, at] for at in (channel, *range(2, 2 + covariates))]
        inputs = np.concatenate([*parts, np.ones((len(past), 1))], axis=1)
        solved = np.linalg.lstsq(inputs, came[:, :, channel] - last[:, :, channel], rcond=None)[0]
        said = network(torch.from_numpy(past)).detach().numpy()[:, :, channel] - last[:, :, channel]
        np.testing.assert_allclose(said, inputs @ solved, atol=1e-3)


def test_equal_seeds_begin_equally() -> None:
    first, again, other = (torch.cat([p.flatten() for p in made("lstm", seed=s).parameters()]) for s in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (of("lsmt"), r"model.base.architecture: 'lsmt' does not forecast. Did you mean 'lstm'\?"),
        (of("bert"), "'bert' does not forecast. Allowed: lstm, gru, linear, seasonal_naive, last_value, patchtst"),
        (of("lstm", hidden=3), r"model.base.settings.hidden: Extra inputs are not permitted.*lstm has: hidden_size"),
        (of("patchtst", patch_len=3), "patchtst has no such setting. Did you mean patch_length"),
        (of("patchtst", context_length=99), "context_length is 99, and preprocess.context says 12"),
        (of("patchtst", loss="nll"), "loss is 'nll'.* Allowed: 'mse'"),
        (
            of("time_series_transformer", context_length=12),
            "context_length and the longest of lags_sequence are 15 steps",
        ),
        (of("time_series_transformer", input_size=2), "input_size is 2, and each column by itself says 1"),
    ],
)
def test_bases_that_cannot_forecast(base: Base, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        forecaster_base.config_of(base, SHAPE)


def test_dropout_is_set_where_there_is_some() -> None:
    config = forecaster_base.config_of(of("lstm"), SHAPE)
    assert forecaster_base.with_dropout(config, 0.2)["dropout"] == 0.2
    with pytest.raises(BadRequest, match=r"model.dropout: linear has none"):
        forecaster_base.with_dropout(forecaster_base.config_of(of("linear"), SHAPE), 0.2)
    changed = forecaster_base.with_dropout(forecaster_base.config_of(of("patchtst"), SHAPE), 0.3)
    assert {value for name, value in changed.items() if "dropout" in name} == {0.3}
