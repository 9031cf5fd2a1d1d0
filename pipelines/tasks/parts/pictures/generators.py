"""The networks that draw, by the name that a recipe gives them. Imports torch at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from core.atomic_files import read_json, write_json
from core.errors import BadRequest, near
from core.schema.model import Architecture
from core.tables.learner import Turn
from core.weights.tensor_files import write_tensors
from pipelines.tasks.parts.pictures import ddpm, gan
from pipelines.tasks.parts.pictures.drawn import Shape, as_pixels, noise

SHOWN = 10  # classes that are drawn while a network learns
FILE, WEIGHTS = "generator.json", "generator.safetensors"


@dataclass(frozen=True)
class Kind:
    """trained: the module that learns. sampler: the part of it that draws, and is kept. Both take settings, the
    pictures' shape and the number of classes.
    """

    settings: Any
    trained: Any
    sampler: Any
    turns: Sequence[Turn]


KINDS = {
    "gan": Kind(gan.Settings, gan.Gan, gan.Generator, gan.TURNS),
    "ddpm": Kind(ddpm.Settings, ddpm.Diffusion, ddpm.Sampler, ddpm.TURNS),
}


def kind_of(architecture: Architecture, shape: Shape | None) -> tuple[Kind, Any]:
    """The kind of network, and its settings. shape: None where it is not known yet.

    Raises BadRequest for an unknown architecture or setting, a value it refuses, and pictures that it cannot draw.
    """
    name = architecture.architecture
    if name not in KINDS:
        raise BadRequest(
            f"model.base.architecture: {name!r} draws no pictures. {near(name, KINDS)}Allowed: {', '.join(KINDS)}."
        )
    kind = KINDS[name]
    settings = architecture.settings_as(kind.settings)
    if shape is not None and (fault := settings.fault(shape)):
        raise BadRequest(f"model.base.settings: {name}: {fault}. Change preprocess.size or the settings.")
    return kind, settings


class OneOfEach:
    """Draws the same pictures at every time of a training: one of each of the first classes."""

    def __init__(self, classes: int) -> None:
        self.labels = torch.arange(min(classes, SHOWN))

    @torch.no_grad()
    def __call__(self, module: nn.Module) -> Tensor:
        """(pictures, channels, height, width) uint8, drawn by the module's sampler."""
        sampler, device = module.get_submodule("sampler"), next(module.parameters()).device
        start = noise(self.labels.tolist(), sampler.noise_shape)  # type: ignore[arg-type]
        pictures = sampler(noise=start.to(device), labels=self.labels.to(device)).pictures
        return torch.from_numpy(as_pixels(pictures))


def save(sampler: nn.Module, architecture: Architecture, folder: Path) -> None:
    """Write what draws: its weights, and how it is built."""
    write_tensors(sampler.state_dict(), folder / WEIGHTS)
    write_json(folder / FILE, architecture.model_dump(include={"architecture", "settings"}))


def load(folder: Path, shape: Shape, classes: int) -> nn.Module:
    """What save() left, ready to draw. Raises BadRequest when it is not whole."""
    kind, settings = kind_of(Architecture.model_validate(read_json(folder / FILE)), shape)
    sampler: nn.Module = kind.sampler(settings, shape, classes)
    try:
        sampler.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BadRequest(f"{folder}: its weights cannot be used: {' '.join(str(error).split())[:400]}") from error
    return sampler.eval()
