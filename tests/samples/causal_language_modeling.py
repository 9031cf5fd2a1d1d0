"""Texts that are foretold token by token."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pandas as pd
import torch

from core.schema.model import Architecture
from tests.conftest import TINY_RECIPE
from tests.samples import Sample, write_texts


def _surprise_by_hand(module: Any, batch: dict[str, torch.Tensor], units: pd.DataFrame) -> torch.Tensor:
    """The surprise of each text a character, each computed alone, as transformers itself has it."""
    found = []
    for ids, positions in zip(batch["input_ids"], batch["position_ids"], strict=True):
        starts = [*(positions == 0).nonzero()[:, 0].tolist(), len(ids)]
        for start, end in pairwise(starts):
            own = ids[None, start:end]
            if own.shape[1] > 1:
                found.append(float(module.model(input_ids=own, labels=own).loss) * (own.shape[1] - 1))
    return torch.tensor(found) / torch.tensor([len(text) for text in units["text"]])


SAMPLE = Sample(
    write_texts,
    TINY_RECIPE.replace("text_classification", "causal_language_modeling")
    .replace("{text: text, label: label}", "{text: text}")
    .replace("{max_tokens: 16}", "{max_tokens: 24, max_new_tokens: 4, vocabulary: 400}"),
    "empty",
    Architecture(architecture="gpt2", settings={"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 64}),
    said=lambda said: said["surprise"] / said["characters"],
    expected=_surprise_by_hand,
)
