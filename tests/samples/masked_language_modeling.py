"""Texts whose words are hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch

from pipelines.tasks.parts.language import masking
from tests.conftest import TINY_RECIPE
from tests.samples import BERT, Sample, write_texts


def _surprise_by_hand(module: Any, batch: dict[str, torch.Tensor], units: pd.DataFrame) -> torch.Tensor:
    """The surprise of each text whose tokens are hidden in turns, one text and one turn after another."""
    ids = batch["input_ids"].flatten().index_copy(0, batch["hidden"], batch["labels"]).view_as(batch["input_ids"])
    found = []
    for row, mask in zip(ids, batch["attention_mask"], strict=True):
        own = row[mask.bool()].numpy()
        masks = masking.Masks(mask=4, special=np.arange(5), share=0.15, vocabulary=0)
        total = 0.0
        for hidden in masks.hidden([masking.Window(0, own)]):
            places, true = torch.from_numpy(hidden.places), torch.from_numpy(hidden.true)
            said = module.model(input_ids=torch.from_numpy(hidden.ids)[None], attention_mask=torch.ones(1, len(own)))
            total -= float(said.logits[0, places].log_softmax(dim=-1)[torch.arange(len(true)), true].sum())
        found.append(total)
    return torch.tensor(found)


SAMPLE = Sample(
    write_texts,
    TINY_RECIPE.replace("text_classification", "masked_language_modeling").replace(
        "{text: text, label: label}", "{text: text}"
    ),
    "empty",
    BERT,
    said=lambda said: said["surprise"],
    expected=_surprise_by_hand,
    close=1e-3,  # sums of some 20 tokens
)
