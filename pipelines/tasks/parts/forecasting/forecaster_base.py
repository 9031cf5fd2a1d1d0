"""From a recipe's `model.base` to a forecaster, and a saved one back: config.json and model.safetensors.

Imports torch and transformers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import nn
from transformers import PatchTSTConfig, set_seed

from core.atomic_files import read_json, write_json
from core.errors import BadRequest, near
from core.schema.model import Architecture
from core.schema.section import Section
from core.tables.task import Base
from core.weights.tensor_files import write_tensors
from pipelines.tasks.parts.architecture import as_request, new_config, portable, saved_weights, set_dropout
from pipelines.tasks.parts.forecasting.forecaster import (
    Forecaster,
    LastValue,
    Linear,
    Lstm,
    PatchTst,
    SeasonalNaive,
    Shape,
)

_CONFIG, _KIND = "config.json", "model_type"
_PATCH = 16  # steps, one patch every 8: Nie et al. 2023; transformers' own default is a patch a step
_PATCHTST = {
    "d_model": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "ffn_dim": 64, "attention_dropout": 0.1,
    "ff_dropout": 0.1, "path_dropout": 0.0, "loss": "mse",
}  # fmt: skip


class _None(Section):
    """No settings."""


class _Linear(Section):
    ridge: Annotated[float, Field(gt=0, description="penalty of squared weights beside the summed squared errors")] = (
        1.0
    )


class _Lstm(Section):
    hidden_size: Annotated[int, Field(ge=1, le=8192)] = 64
    num_layers: Annotated[int, Field(ge=1, le=16)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


_OWN: Mapping[str, tuple[type[Section], Any]] = {
    "lstm": (_Lstm, Lstm),
    "linear": (_Linear, Linear),
    "seasonal_naive": (_None, SeasonalNaive),
    "last_value": (_None, LastValue),
}
_NAMES = (*_OWN, "patchtst")


def config_of(base: Base, shape: Shape) -> dict[str, Any]:
    """What config.json will say. Raises BadRequest for an architecture or settings that cannot forecast."""
    if base.architecture is not None:
        config = _new(base.architecture, shape)
    else:
        assert base.folder is not None
        config = read_json(base.folder / _CONFIG)
        if config.get(_KIND) not in _NAMES:
            raise BadRequest(f"model.base: {config.get(_KIND)!r} does not forecast. Allowed: {', '.join(_NAMES)}.")
    if config[_KIND] == "patchtst":
        _check_patches(PatchTSTConfig.from_dict(config), shape)
    return config


def with_dropout(config: dict[str, Any], share: float | None) -> dict[str, Any]:
    """The same with another dropout. Raises BadRequest where there is none to be set."""
    if share is None:
        return config
    if config[_KIND] == "patchtst":
        changed = PatchTSTConfig.from_dict(config)
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
    if name == "patchtst":
        sizes = {
            "context_length": shape.context, "prediction_length": shape.horizon,
            "num_input_channels": shape.channels + shape.covariates, "channel_attention": shape.covariates > 0,
            "patch_length": min(_PATCH, shape.context), "patch_stride": min(_PATCH, shape.context) // 2,
        }  # fmt: skip
        return portable(new_config(architecture, {**_PATCHTST, **sizes}))
    if name not in _OWN:
        raise BadRequest(
            f"model.base.architecture: {name!r} does not forecast. {near(name, _NAMES)}Allowed: {', '.join(_NAMES)}."
        )
    return {_KIND: name, **architecture.settings_as(_OWN[name][0]).model_dump()}


def _check_patches(config: PatchTSTConfig, shape: Shape) -> None:
    """Raise BadRequest where a PatchTST is of other steps or columns, or says distributions."""
    wanted = {
        "context_length": ("preprocess.context", shape.context),
        "prediction_length": ("preprocess.horizon", shape.horizon),
        "num_input_channels": ("the number of columns", shape.channels + shape.covariates),
    }
    for name, (where, size) in wanted.items():
        if (given := getattr(config, name)) != size:
            raise BadRequest(
                f"model.base: {name} is {given}, and {where} says {size}. Take it out, or make them equal."
            )
    if config.loss != "mse":
        raise BadRequest(f"model.base: loss is {config.loss!r}. Allowed: 'mse'; intervals come from validation rows.")


def _module(config: Mapping[str, Any], shape: Shape) -> Forecaster:
    kind = config[_KIND]
    if kind == "patchtst":
        with as_request("model.base.settings: no patchtst can be built from them"):
            return Forecaster(PatchTst(PatchTSTConfig.from_dict(dict(config)), shape), config)
    settings = {name: value for name, value in config.items() if name != _KIND}
    return Forecaster(_OWN[kind][1](shape, **settings), config)


def _inner(module: Forecaster) -> nn.Module:
    """The part whose weights are saved: transformers' own module, so that it can be read as such."""
    network = module.network
    return network.model if isinstance(network, PatchTst) else network
