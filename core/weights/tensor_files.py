"""Tensors as they are kept: safetensors, each whole and on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

PYTORCH = {"format": "pt"}  # without it transformers does not read a file


def write_tensors(weights: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = PYTORCH) -> None:
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, path, metadata)
