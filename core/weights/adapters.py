"""A model that is kept as what training added to its base -> whole weights again, with the bits that peft's merge has.

Merging needs no peft (5 s to import) and no module: a weight moves by alpha / rank times B A (Hu et al. 2021).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.atomic_files import read_json, replacing, sha256_json
from core.manifest import damage, read_manifest, write_manifest
from core.weights.base_store import NAMED, base_folder
from core.weights.tensor_files import write_tensors

if TYPE_CHECKING:
    from torch import Tensor

WEIGHTS = "model.safetensors"  # of a whole model, and of a base that is kept
HEAD = "head.safetensors"  # what a model adds to its base beside adapters, if anything
ADAPTERS = "adapter"  # as peft writes and reads them
ADAPTER_WEIGHTS, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
MERGED = "merged"  # in var/: whole models, made again when they are missing
_PREFIX, _DOWN, _UP = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
_PARTS = (NAMED, HEAD, ADAPTERS, "manifest.json")  # what a whole model has not


def merged(model: Path, base: Path) -> dict[str, Tensor]:
    """All weights of a model that names `base`, its adapters merged in."""
    from safetensors.torch import load_file

    weights = load_file(base / WEIGHTS)
    if (model / HEAD).is_file():
        weights |= load_file(model / HEAD)
    for name, delta in _deltas(model / ADAPTERS).items():
        weights[name] = (weights[name] + delta).to(weights[name].dtype)
    return weights


def whole(model: Path, var: Path) -> Path:
    """A folder that holds the model with all its weights: the model's own, or one in var/merged made of its parts."""
    base = base_folder(model)
    if base is None:
        return model
    target = var / MERGED / sha256_json(read_manifest(model)["files"])
    if damage(target) is not None:
        with replacing(target) as folder:
            for parts in (base, model):
                shutil.copytree(parts, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*_PARTS))
            write_tensors(merged(model, base), folder / WEIGHTS)
            write_manifest(folder, {})
    return target


def _deltas(adapters: Path) -> Mapping[str, Tensor]:
    """Parameter -> what its adapter adds; nothing without adapters."""
    if not adapters.is_dir():
        return {}
    from safetensors.torch import load_file

    config, parts = read_json(adapters / ADAPTER_CONFIG), load_file(adapters / ADAPTER_WEIGHTS)
    scaling = config["lora_alpha"] / config["r"]
    targets = [name.removesuffix(_DOWN) for name in parts if name.endswith(_DOWN)]
    return {
        f"{target.removeprefix(_PREFIX)}.weight": (parts[target + _UP] @ parts[target + _DOWN]) * scaling
        for target in targets
    }
