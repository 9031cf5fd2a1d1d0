"""Checkpoints on disk: whole or not used. var/checkpoints/RECIPE/KEY/step-00000120/, the manifest of hashes last.

Tensors as safetensors, the rest as JSON: nothing here is pickled, so nothing here can execute.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.atomic_files import read_json, replacing, write_json
from core.manifest import damage, read_manifest, write_manifest

if TYPE_CHECKING:
    from torch import Tensor

_KEPT = 2  # the newest, and one to fall back to
_STATE = "state.json"


@dataclass(frozen=True)
class Checkpoint:
    """One whole checkpoint, as it was saved. tensors: by file, then by name."""

    step: int
    tensors: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training; `folder` is named by everything that decides its result."""

    folder: Path

    def save(self, checkpoint: Checkpoint) -> None:
        """Write one beside and swap it in, synced; then the oldest go. Raises OSError when the disk is full."""
        from safetensors.torch import save_file

        with replacing(self.folder / f"step-{checkpoint.step:08d}") as place:
            for name, tensors in checkpoint.tensors.items():
                save_file({key: value.contiguous() for key, value in tensors.items()}, place / f"{name}.safetensors")
            write_json(place / _STATE, checkpoint.state)
            write_manifest(place, {"step": checkpoint.step})
        for old in self._places()[_KEPT:]:
            shutil.rmtree(old)

    def newest(self) -> Checkpoint | None:
        """The newest whole one. A torn, short or altered one is passed over with a warning on stderr."""
        from safetensors.torch import load_file

        for place in self._places():
            if fault := _fault(place):
                print(f"checkpoint {place} is passed over: {fault}", file=sys.stderr, flush=True)
                continue
            tensors = {path.stem: load_file(path) for path in sorted(place.glob("*.safetensors"))}
            return Checkpoint(int(read_manifest(place)["step"]), tensors, read_json(place / _STATE))
        return None

    def clear(self) -> None:
        """Remove them all: the training has ended and its model is in place."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _places(self) -> list[Path]:
        """Newest first; what a killed save left under another name is not among them."""
        return sorted(self.folder.glob("step-*"), reverse=True)


def _fault(place: Path) -> str | None:
    """Why a checkpoint is not whole; None when every file is as its manifest says."""
    if fault := damage(place):
        return fault
    manifest = read_manifest(place)
    step = manifest.get("step")
    if not isinstance(step, int) or place.name != f"step-{step:08d}" or _STATE not in manifest["files"]:
        return "its manifest is of something else"
    return None
