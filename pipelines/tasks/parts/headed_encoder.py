"""Any transformers encoder with a head behind it: built for a method, its frozen vectors, its files.

Imports torch at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from core.schema.model import Model
from core.tables.learner import Learner, TorchLearner
from core.tables.task import Base, Place
from core.weights.device import device_here
from pipelines.tasks.parts.architecture import as_request
from pipelines.tasks.parts.encoder import CPU_TOKENS, build_encoder, load_encoder, save_encoder

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

HEAD_DROPOUT = 0.1  # the head is new whatever the method, so it is regularised even where the base is not
FROZEN_LAYERS = 3  # a frozen base's last layer is shaped by its own task: film reviews .746 with it alone, .762 with 3
FEATURES = "features"  # a column of encoded rows: what a frozen encoder made of them
_LAYERS = "head_layers"


class HeadedEncoder(nn.Module):
    """An encoder and a head over its token vectors. frozen: the head alone learns.

    layers: how many of the last layers' outputs a token's vector is the mean of.
    """

    def __init__(self, encoder: Any, head: nn.Module, *, layers: int, frozen: bool) -> None:
        super().__init__()
        self.encoder, self.head, self.layers, self.frozen = encoder, head, layers, frozen
        if frozen:
            self.encoder.requires_grad_(False)

    def vectors(self, **inputs: Tensor) -> Tensor:
        """(texts, tokens, width). inputs: as the encoder takes them."""
        if self.layers == 1:
            hidden: Tensor = self.encoder(**inputs).last_hidden_state
            return hidden
        states = self.encoder(**inputs, output_hidden_states=True).hidden_states
        return torch.stack(states[-self.layers :]).mean(dim=0)


Headed = TypeVar("Headed", bound=HeadedEncoder)


def build(kind: Callable[..., Headed], model: Model, base: Base, config: PreTrainedConfig, *, classes: int) -> Headed:
    """The module that `model.method` trains: all of it, adapters and head, or the head alone."""
    encoder = build_encoder(model, base, config)
    if model.method != "transfer":
        return kind(encoder, width=config.hidden_size, classes=classes)
    layers = min(FROZEN_LAYERS, config.num_hidden_layers)
    return kind(encoder, width=config.hidden_size, classes=classes, layers=layers, frozen=True)


def save(learnt: Learner | TorchLearner, folder: Path, base: Path | None) -> None:
    """config.json and the weights, as save_encoder() lays them out; the tokenizer goes where the base does."""
    assert isinstance(learnt, TorchLearner)
    module = learnt.module
    assert isinstance(module, HeadedEncoder)
    head, settings = module.head.state_dict(), {_LAYERS: module.layers}
    save_encoder(module.encoder, folder, base, head=head, frozen=module.frozen, settings=settings)


def load(kind: Callable[..., Headed], folder: Path, base: Path | None, *, classes: int) -> Headed:
    """What save() wrote, ready to predict. base: where what was not trained lies; None if all stands in `folder`."""
    encoder, head = load_encoder(folder, base)
    config = encoder.config
    with as_request(f"{folder}: its weights are of another model"):
        module = kind(encoder, width=config.hidden_size, classes=classes, layers=getattr(config, _LAYERS))
        module.head.load_state_dict(head)
    return module.eval()


def vectors_file(module: HeadedEncoder, at: Place, batch_size: int, *inputs: Any) -> Path:
    """Where a frozen encoder's vectors are kept: one place for equal inputs, base, device, threads and batches."""
    here = (str(device_here()), torch.get_num_threads(), CPU_TOKENS)  # they decide the last bits
    identity = repr((at.base.sha256, module.layers, *here, batch_size, *inputs))
    return at.cache / f"{hashlib.sha256(identity.encode()).hexdigest()}.safetensors"
