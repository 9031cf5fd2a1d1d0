"""From a recipe's `model.base` to a forecaster, and a saved one back: config.json and model.safetensors.

Imports torch and transformers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import nn
from transformers import PatchTSTConfig, PreTrainedConfig, TimeSeriesTransformerConfig, set_seed

from core.atomic_files import read_json, write_json
from core.errors import BadRequest, near
from core.schema.model import Architecture
from core.schema.section import Section
from core.tables.task import Base
from core.weights.tensor_files import write_tensors
from pipelines.tasks.parts.architecture import as_request, new_config, portable, saved_weights, set_dropout
from pipelines.tasks.parts.forecasting.forecaster import (
    Forecaster,
    Gru,
    LastValue,
    Linear,
    Lstm,
    PatchTst,
    SeasonalNaive,
    Shape,
)
from pipelines.tasks.parts.forecasting.series_transformer import PLACES, SeriesTransformer

_CONFIG, _KIND = "config.json", "model_type"
_PATCH = 16  # steps, one patch every 8: Nie et al. 2023; transformers' own default is a patch a step
_LAGS = (1, 2, 3)  # steps back that the transformer reads beside the last; and a season


class _None(Section):
    """No settings."""


class _Linear(Section):
    ridge: Annotated[float, Field(gt=0, description="penalty of squared weights beside the summed squared errors")] = (
        1.0
    )


class _Recurrent(Section):
    hidden_size: Annotated[int, Field(ge=1, le=8192)] = 64
    num_layers: Annotated[int, Field(ge=1, le=16)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


_OWN: Mapping[str, tuple[type[Section], Any]] = {
    "lstm": (_Recurrent, Lstm),
    "gru": (_Recurrent, Gru),
    "linear": (_Linear, Linear),
    "seasonal_naive": (_None, SeasonalNaive),
    "last_value": (_None, LastValue),
}


@dataclass(frozen=True)
class _Theirs:
    """An architecture of transformers.

    sizes: settings that `preprocess:` decides, with the words for what each must be equal to. defaults: other settings
    that a recipe may change. loss: the only one that it may have.
    """

    config: type[PreTrainedConfig]
    network: Callable[[Any, Shape], PatchTst | SeriesTransformer]
    sizes: Callable[[Shape], Mapping[str, tuple[str, int]]]
    defaults: Callable[[Shape], Mapping[str, Any]]
    loss: str


def _patchtst_sizes(shape: Shape) -> Mapping[str, tuple[str, int]]:
    return {
        "context_length": ("preprocess.context", shape.context),
        "prediction_length": ("preprocess.horizon", shape.horizon),
        "num_input_channels": ("the number of columns", shape.channels + shape.covariates),
    }


def _patchtst_defaults(shape: Shape) -> Mapping[str, Any]:
    return {
        "d_model": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "ffn_dim": 64, "attention_dropout": 0.1,
        "ff_dropout": 0.1, "path_dropout": 0.0, "loss": "mse", "channel_attention": shape.covariates > 0,
        "patch_length": min(_PATCH, shape.context), "patch_stride": min(_PATCH, shape.context) // 2,
    }  # fmt: skip


def _transformer_sizes(shape: Shape) -> Mapping[str, tuple[str, int]]:
    return {
        "prediction_length": ("preprocess.horizon", shape.horizon),
        "input_size": ("each column by itself", 1),
        "num_time_features": ("where a step stands, and its covariates", PLACES + shape.covariates),
    }


def _transformer_defaults(shape: Shape) -> Mapping[str, Any]:
    lags = sorted({lag for lag in (*_LAGS, shape.season) if lag < shape.context / 2} or {1})
    return {
        "d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0,
        "lags_sequence": lags, "context_length": shape.context - max(lags), "scaling": "std",
    }  # fmt: skip


_THEIRS: Mapping[str, _Theirs] = {
    "patchtst": _Theirs(PatchTSTConfig, PatchTst, _patchtst_sizes, _patchtst_defaults, "mse"),
    "time_series_transformer": _Theirs(
        TimeSeriesTransformerConfig, SeriesTransformer, _transformer_sizes, _transformer_defaults, "nll"
    ),
}
_NAMES = (*_OWN, *_THEIRS)


def config_of(base: Base, shape: Shape) -> dict[str, Any]:
    """What config.json will say. Raises BadRequest for an architecture or settings that cannot forecast."""
    if base.architecture is not None:
        config = _new(base.architecture, shape)
    else:
        assert base.folder is not None
        config = read_json(base.folder / _CONFIG)
        if config.get(_KIND) not in _NAMES:
            raise BadRequest(f"model.base: {config.get(_KIND)!r} does not forecast. Allowed: {', '.join(_NAMES)}.")
    if config[_KIND] in _THEIRS:
        _check_sizes(config, shape)
    return config


def with_dropout(config: dict[str, Any], share: float | None) -> dict[str, Any]:
    """The same with another dropout. Raises BadRequest where there is none to be set."""
    if share is None:
        return config
    if config[_KIND] in _THEIRS:
        changed = _THEIRS[config[_KIND]].config.from_dict(config)
        set_dropout(changed, share)
        return portable(changed)
    if "dropout" not in config:
        raise BadRequest(f"model.dropout: {config[_KIND]} has none. Take it out.")
    return {**config, "dropout": share}


def build(config: Mapping[str, Any], base: Base, shape: Shape, *, seed: int) -> Forecaster:
    """The module to train: with fresh weights, or with those of the base's folder."""
    set_seed(seed)
    module = _module(config, shape)
    if base.folder is not None and base.architecture is None:
        what = f"model.base {base.reference!r}: its weights forecast other steps or columns than `preprocess:` says"
        with as_request(what):
            _inner(module).load_state_dict(saved_weights(base.folder))
    return module


def save(module: Forecaster, folder: Path) -> None:
    """Write config.json and model.safetensors, of PatchTST as transformers would."""
    write_tensors(_inner(module).state_dict(), folder / "model.safetensors")
    write_json(folder / _CONFIG, dict(module.config))


def load(folder: Path, shape: Shape) -> Forecaster:
    """What save() wrote, ready to predict. Raises BadRequest."""
    with as_request(f"{folder}: its weights are of another model"):
        module = _module(read_json(folder / _CONFIG), shape)
        _inner(module).load_state_dict(saved_weights(folder))
    return module.eval()


def _new(architecture: Architecture, shape: Shape) -> dict[str, Any]:
    name = architecture.architecture
    if name in _THEIRS:
        theirs = _THEIRS[name]
        sizes = {key: size for key, (_, size) in theirs.sizes(shape).items()}
        return portable(new_config(architecture, {**theirs.defaults(shape), **sizes}))
    if name not in _OWN:
        raise BadRequest(
            f"model.base.architecture: {name!r} does not forecast. {near(name, _NAMES)}Allowed: {', '.join(_NAMES)}."
        )
    return {_KIND: name, **architecture.settings_as(_OWN[name][0]).model_dump()}


def _check_sizes(told: Mapping[str, Any], shape: Shape) -> None:
    """Raise BadRequest where a model of transformers is of other steps or columns, or learns by another loss."""
    theirs = _THEIRS[told[_KIND]]
    config = theirs.config.from_dict(dict(told))
    for name, (where, size) in theirs.sizes(shape).items():
        if (given := getattr(config, name)) != size:
            raise BadRequest(
                f"model.base: {name} is {given}, and {where} says {size}. Take it out, or make them equal."
            )
    if config.loss != theirs.loss:
        said = f"loss is {config.loss!r}. Allowed: {theirs.loss!r}; intervals come from validation rows."
        raise BadRequest(f"model.base: {said}")
    if told[_KIND] == "time_series_transformer" and (read := config.context_length + max(config.lags_sequence)) != (
        shape.context
    ):
        raise BadRequest(
            f"model.base: context_length and the longest of lags_sequence are {read} steps together, and "
            f"preprocess.context says {shape.context}. Take context_length out, or make them equal."
        )


def _module(config: Mapping[str, Any], shape: Shape) -> Forecaster:
    kind = config[_KIND]
    if kind in _THEIRS:
        theirs = _THEIRS[kind]
        with as_request(f"model.base.settings: no {kind} can be built from them"):
            return Forecaster(theirs.network(theirs.config.from_dict(dict(config)), shape), config)
    settings = {name: value for name, value in config.items() if name != _KIND}
    return Forecaster(_OWN[kind][1](shape, **settings), config)


def _inner(module: Forecaster) -> nn.Module:
    """The part whose weights are saved: transformers' own module, so that it can be read as such."""
    network = module.network
    return network.model if isinstance(network, PatchTst | SeriesTransformer) else network
