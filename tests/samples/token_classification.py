"""Sentences with a person and a place."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from core.cells.spans import entities
from tests.conftest import Workspace
from tests.samples import BERT, Sample


def _entities(workspace: Workspace) -> None:
    lines = []
    for at in range(160):
        name, place = ("Ann", "Bo", "Cy Twombly")[at % 3].split(), ("Rome", "New York")[at % 2].split()
        words = [*name, "goes", "to", *place, "again", str(at)]
        tags = ["B-per", *["I-per"] * (len(name) - 1), "O", "O", "B-loc", *["I-loc"] * (len(place) - 1), "O", "O"]
        lines += [f"{word}\t{tag}" for word, tag in zip(words, tags, strict=True)] + [""]
    workspace.write("rows.conll", "\n".join([*lines, "lost B_per"]))


def _least_sure(module: Any, batch: dict[str, torch.Tensor], units: pd.DataFrame) -> torch.Tensor:
    """How sure a module is of the span that it is least sure of, a text: the mean over the span's words."""
    sure, tags = module(**batch).logits.softmax(dim=-1).max(dim=-1)
    names = ["O", "B-loc", "I-loc", "B-per", "I-per"]
    least = []
    for row, words in enumerate(batch["labels"] >= 0):
        found = entities([names[tag] for tag in tags[row][words]])
        means = [float(sure[row][words][span.start : span.end].mean()) for span in found]
        least.append(min(means, default=1.0))
    return torch.tensor(least)


SAMPLE = Sample(
    _entities,
    "task: token_classification\ndata: {source: rows.conll, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "model: {base: {architecture: bert}, method: pretrain}\n",
    "'B_per' is no tag",
    BERT,
    said=lambda said: said["confidence"],
    expected=_least_sure,
    like=[{"text": "Ada", "spans": [{"start": 0, "end": 3, "label": "x"}]}] * 9,
)
