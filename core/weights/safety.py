"""What a model's folder may hold when it comes from elsewhere: safetensors and JSON, and no word of code to run.

Other formats of weights are pickles, which run code when they are read; a configuration can name code of its own, or
another repository to take weights or kernels from.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.atomic_files import read_json
from core.errors import BadRequest
from core.weights.adapters import ADAPTERS
from core.workspace import inside

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".msgpack")
_CODE = ("auto_map", "custom_pipelines", "custom_generate")  # transformers imports what these name
_KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation")  # with a slash: a hub repository
_HEAD_BYTES = 8
_LONGEST_HEAD = 100_000_000  # bytes, safetensors' own limit


def check_weights(folder: Path, of: str) -> None:
    """Raise BadRequest unless there are safetensors, each whole, and nothing points at other files; of: in messages."""
    weights = sorted([*folder.glob("*.safetensors"), *(folder / ADAPTERS).glob("*.safetensors")])
    if not weights:
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
        instead = f" but {', '.join(pickles)}, which runs code when it is read" if pickles else ""
        raise BadRequest(
            f"{of}: {folder} holds no *.safetensors{instead}. Only safetensors are read: "
            "save the model with `save_pretrained(folder, safe_serialization=True)`."
        )
    for path in weights:
        if not _whole(path):
            raise BadRequest(
                f"{of}: {path} is no safetensors file, or cut off. Only safetensors are read. Fetch it again."
            )
    for index in sorted(folder.glob("*.index.json")):
        _check_index(index, of)


def check_code(folder: Path, of: str) -> None:
    """Raise BadRequest when a configuration in the folder names code of its own, or is an adapter of something else."""
    if (folder / "adapter_config.json").is_file():
        raise BadRequest(f"{of}: {folder}/adapter_config.json: an adapter, not a model. Merge it into its base first.")
    for path in sorted(folder.glob("*config*.json")):
        named = next(_foreign(read_json(path)), None)
        if named is not None:
            raise BadRequest(
                f"{of}: {path}: {named} names code to be run, and nothing that is read here runs. Take it out if "
                "transformers has the architecture itself, or choose another model."
            )


def _foreign(config: Any) -> Iterator[str]:
    """The keys of a configuration, and of those in it, that name code."""
    if isinstance(config, list):
        for each in config:
            yield from _foreign(each)
    if not isinstance(config, dict):
        return
    for key, value in config.items():
        if key in _CODE or (key in _KERNELS and "/" in str(value)):
            yield f"{key!r}"
        yield from _foreign(value)


def _check_index(index: Path, of: str) -> None:
    """Weights in several files: each lies beside the index, and is safetensors."""
    found = read_json(index)
    names = found.get("weight_map") if isinstance(found, dict) else None
    names = set(map(str, names.values())) if isinstance(names, dict) else {"nothing"}
    for name in sorted(names):
        if "/" in name or not name.endswith(".safetensors") or not inside(index.parent, name).is_file():
            raise BadRequest(f"{of}: {index} names {name[:200]!r}. Allowed: *.safetensors beside it, and only those.")


def _whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its head says (8 bytes of length, JSON, tensors)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            return False
        length = struct.unpack("<Q", head)[0]
        if length > min(size - _HEAD_BYTES, _LONGEST_HEAD):
            return False
        try:
            tensors = json.loads(file.read(length))
            ends = [value["data_offsets"][1] for key, value in tensors.items() if key != "__metadata__"]
            return bool(size == _HEAD_BYTES + length + max(ends, default=0))
        except (ValueError, RecursionError, AttributeError, TypeError, KeyError, IndexError):
            return False
