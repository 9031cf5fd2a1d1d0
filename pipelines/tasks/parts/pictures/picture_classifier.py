"""Any transformers model for image classification: its configuration, the module, its files. Imports torch at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForImageClassification, set_seed

from core.atomic_files import read_json, write_json
from core.errors import BadRequest
from core.schema.model import Model
from core.tables.task import Base, Place
from core.weights.device import ready
from core.weights.tensor_files import write_tensors
from pipelines.tasks.parts import classification
from pipelines.tasks.parts.architecture import (
    as_request,
    initialise,
    new_config,
    portable,
    pretrained,
    saved_config,
    saved_weights,
    set_dropout,
    stored_config,
)
from pipelines.tasks.parts.pictures import picture_input
from pipelines.tasks.parts.pictures.picture_input import Picture


def config_of(base: Base, folder: Path) -> Any:
    """The network's configuration. Raises BadRequest where base, pictures and labels do not fit each other."""
    picture, names = picture_input.read(folder), classification.read_labels(folder)
    config = network_config(base, picture)
    config.id2label = dict(enumerate(names))
    config.label2id = {name: number for number, name in enumerate(names)}
    return config


def network_config(base: Base, picture: Picture) -> Any:
    """The same before labels are known."""
    channels = picture.shape[0]
    if base.architecture is None:
        config = stored_config(base)
    else:
        config = new_config(base.architecture, {"num_channels": channels, "image_size": picture.size})
    if type(config) not in AutoModelForImageClassification._model_mapping:
        raise BadRequest(
            f"model.base: {config.model_type} does not classify pictures. Allowed: resnet, vit, convnext, swin and "
            "others of transformers' AutoModelForImageClassification."
        )
    if getattr(config, "num_channels", channels) != channels:
        raise BadRequest(
            f"model.base: num_channels is {config.num_channels}, and the pictures are {picture.channels} "
            f"({channels}). Change it, or preprocess.channels."
        )
    return config


def build(model: Model, at: Place) -> nn.Module:
    """The module to train: new, or with the base's weights and a new head."""
    config = config_of(at.base, at.folder)
    if model.dropout is not None:
        set_dropout(config, model.dropout)
    set_seed(at.seed)
    module: nn.Module
    if at.base.architecture is not None:
        module = initialise(AutoModelForImageClassification, config)
    else:
        kind = AutoModelForImageClassification
        module = pretrained(kind, at.base, config, fresh=_is_head, ignore_mismatched_sizes=True)
    if read_json(at.folder / picture_input.FILE)["flip"]:
        module.register_forward_pre_hook(_mirror_half, with_kwargs=True)
    return module


def save(module: Any, folder: Path) -> None:
    write_tensors(module.state_dict(), folder / "model.safetensors")
    write_json(folder / "config.json", portable(module.config))


def load(folder: Path) -> nn.Module:
    """What save() wrote, ready to predict. Raises BadRequest."""
    module: nn.Module = initialise(AutoModelForImageClassification, saved_config(folder))
    with as_request(f"{folder}: its weights are of another model"):
        module.load_state_dict(saved_weights(folder))
    return module.eval()


def collate(rows: Sequence[Mapping[str, Any]], *, picture: Picture) -> dict[str, torch.Tensor]:
    """A batch of encoded pictures and their labels."""
    pixels = picture_input.stacked(rows, picture.shape)
    labels = torch.tensor([row["labels"] for row in rows])
    return {"pixel_values": picture_input.scaled(pixels, picture), "labels": labels}


def logits(
    module: nn.Module, paths: Sequence[str], media: Path, picture: Picture, *, batch_size: int
) -> np.ndarray[Any, Any]:
    """(pictures, classes), a batch of pictures in memory at a time."""
    device = ready(module)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(paths), batch_size):
            pixels = picture_input.pixels(paths[start : start + batch_size], media, picture)
            values = picture_input.scaled(pixels, picture).to(device)
            parts.append(module(pixel_values=values).logits.cpu().numpy())
    return np.concatenate(parts)


def _is_head(name: str) -> bool:
    return name.startswith(("classifier", "head", "fc", "cls_classifier", "distillation_classifier"))


def _mirror_half(module: nn.Module, arguments: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if not module.training:
        return arguments, options
    pixels = options["pixel_values"]
    chosen = torch.rand(len(pixels), device=pixels.device) < 0.5
    return arguments, options | {"pixel_values": torch.where(chosen.view(-1, 1, 1, 1), pixels.flip(-1), pixels)}
