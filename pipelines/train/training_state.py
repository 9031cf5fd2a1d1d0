"""What, beside the weights, decides the rest of a training: an optimizer's state and the random generators', as tensors
and JSON. Imports torch at once.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_CUDA = "cuda."


def learnt(module: nn.Module) -> dict[str, Tensor]:
    """What training changes: trainable parameters, and buffers such as a batch norm's means."""
    return {**{name: p for name, p in module.named_parameters() if p.requires_grad}, **dict(module.named_buffers())}


def put_back(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Overwrite what training changes. Raises KeyError when a weight is missing."""
    with torch.no_grad():
        for name, value in learnt(module).items():
            value.copy_(weights[name])


def optimizer_parts(optimizer: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state: tensors named PARAMETER.NAME, and the rest for JSON."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    numbers: dict[str, Any] = {}
    for parameter, entries in state["state"].items():
        for name, value in entries.items():
            (tensors if isinstance(value, Tensor) else numbers)[f"{parameter}.{name}"] = value
    return tensors, {"groups": state["param_groups"], "numbers": numbers}


def restore_optimizer(optimizer: Any, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    """Give an optimizer of the same parameters the state that `optimizer_parts` took."""
    state: dict[int, dict[str, Any]] = defaultdict(dict)
    for key, value in {**tensors, **rest["numbers"]}.items():
        parameter, _, name = key.partition(".")
        state[int(parameter)][name] = value
    optimizer.load_state_dict({"state": dict(state), "param_groups": rest["groups"]})


def random_parts() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The state of every random generator that training draws from: torch's, numpy's and Python's."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    version, numbers, following = random.getstate()
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64))}
    if torch.cuda.is_available():
        tensors |= {f"{_CUDA}{at}": state for at, state in enumerate(torch.cuda.get_rng_state_all())}
    rest = {"numpy": [kind, int(position), int(has_gauss), float(gauss)], "python": [version, list(numbers), following]}
    return tensors, rest


def restore_random(tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    """Put every random generator where `random_parts` found it."""
    kind, position, has_gauss, gauss = rest["numpy"]
    np.random.set_state((kind, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, gauss))
    version, numbers, following = rest["python"]
    random.setstate((version, tuple(numbers), following))
    torch.set_rng_state(tensors["torch"])
    for at in range(torch.cuda.device_count()):
        if (state := tensors.get(f"{_CUDA}{at}")) is not None:
            torch.cuda.set_rng_state(state, at)
