"""Any encoder of text with a layer that tags each of its tokens: the module and its files.

Imports torch at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import TokenClassifierOutput

from core.schema.model import Model
from core.tables.task import Base
from pipelines.tasks.parts.architecture import as_request
from pipelines.tasks.parts.encoder import build_encoder, load_encoder, save_encoder
from pipelines.tasks.parts.entities.token_windows import NO_TAG

HEAD_DROPOUT = 0.1
FROZEN_LAYERS = 3  # a frozen base's last layer is shaped by its own task
_LAYERS = "head_layers"


class TokenClassifier(nn.Module):
    """Encoder -> logits of the tags, for each token."""

    def __init__(self, encoder: Any, *, width: int, classes: int, layers: int = 1, frozen: bool = False) -> None:
        """layers: how many of the last layers' outputs a token's vector is the mean of."""
        super().__init__()
        self.encoder, self.layers, self.frozen = encoder, layers, frozen
        self.head = nn.Sequential(nn.Dropout(HEAD_DROPOUT), nn.Linear(width, classes))
        if frozen:
            self.encoder.requires_grad_(False)

    def vectors(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(texts, tokens, width)."""
        if self.layers == 1:
            hidden: Tensor = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return hidden
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True)
        return torch.stack(states.hidden_states[-self.layers :]).mean(dim=0)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        features: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> TokenClassifierOutput:
        """From tokens, or from what vectors() made of them before. labels: a tag's number, or NO_TAG."""
        if features is None:
            assert input_ids is not None
            assert attention_mask is not None
            features = self.vectors(input_ids, attention_mask)
        logits = self.head(features)
        return TokenClassifierOutput(loss=None if labels is None else _loss(logits, labels), logits=logits)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy of the words; 0 of a batch without any."""
    total = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=NO_TAG, reduction="sum")
    return total / (labels != NO_TAG).sum().clamp(min=1)


def build(model: Model, base: Base, config: PreTrainedConfig, *, classes: int) -> TokenClassifier:
    """The module that `model.method` trains: all of it, adapters and head, or the head alone."""
    encoder = build_encoder(model, base, config)
    if model.method != "transfer":
        return TokenClassifier(encoder, width=config.hidden_size, classes=classes)
    layers = min(FROZEN_LAYERS, config.num_hidden_layers)
    return TokenClassifier(encoder, width=config.hidden_size, classes=classes, layers=layers, frozen=True)


def save(module: TokenClassifier, folder: Path, base: Path | None) -> None:
    """config.json and the weights, as save_encoder() lays them out."""
    head, settings = module.head.state_dict(), {_LAYERS: module.layers}
    save_encoder(module.encoder, folder, base, head=head, frozen=module.frozen, settings=settings)


def load(folder: Path, base: Path | None, *, classes: int) -> TokenClassifier:
    """What save() wrote, ready to predict. base: where what was not trained lies; None if all stands in `folder`."""
    encoder, head = load_encoder(folder, base)
    config = encoder.config
    with as_request(f"{folder}: its weights are of another model"):
        module = TokenClassifier(encoder, width=config.hidden_size, classes=classes, layers=getattr(config, _LAYERS))
        module.head.load_state_dict(head)
    return module.eval()
