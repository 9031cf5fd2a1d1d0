"""What a report begins with, from a whole report: an LSTM with attention."""

from __future__ import annotations

from typing import Any

import pandas as pd
import torch

from core.schema.model import Architecture
from tests.conftest import Workspace
from tests.samples import Sample

WORDS = ("and", "then", "it", "went", "on", "about", "the", "weather", "of", "last", "week", "again")


def report_rows(count: int) -> list[dict[str, str]]:
    """Who saw what, with many words behind it that do not count. No two alike."""
    people, things, towns = ("Ann", "Bo", "Cy", "Dee"), ("house", "ship", "dog", "tree"), ("Rome", "Oslo", "Bonn")
    rows = []
    for at in range(count):
        said = f"{people[at % 4]} saw a {things[at // 4 % 4]} in {towns[at // 16 % 3]}"
        rest = " ".join(WORDS[(at // 48 + each) % len(WORDS)] for each in range(16))
        rows.append({"source": f"{said} {rest}", "target": said})
    return rows


def _reports(workspace: Workspace) -> None:
    workspace.write_rows([*report_rows(160), {"source": "Eve saw nothing", "target": " "}])


def _sureness(module: Any, batch: dict[str, torch.Tensor], units: pd.DataFrame) -> torch.Tensor:
    """By hand: each source alone, the likeliest token behind those that stand there, until the text ends."""
    found = []
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        one = {"input_ids": ids[mask.bool()][None], "attention_mask": mask[mask.bool()][None]}
        written, total = torch.tensor([[module.config.decoder_start_token_id]]), 0.0
        while written.shape[1] <= 12:
            chances = module(**one, decoder_input_ids=written).logits[0, -1].log_softmax(dim=-1)
            best = chances.argmax()
            total += float(chances[best])
            written = torch.cat([written, best.view(1, 1)], dim=1)
            if best == module.config.eos_token_id:
                break
        found.append(total / (written.shape[1] - 1))
    return torch.tensor(found).exp()


SAMPLE = Sample(
    _reports,
    "task: sequence_to_sequence\n"
    "data: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "preprocess: {vocabulary: 1000, max_target_tokens: 12}\n"
    "model: {base: {architecture: lstm, settings: {hidden_size: 32, embedding_size: 32}}, method: pretrain}\n",
    "target ' ' is empty",
    Architecture(architecture="lstm", settings={"hidden_size": 32, "embedding_size": 32}),
    said=lambda said: said["confidence"],
    expected=_sureness,
    like=[
        {"article": f"thing {at} was done, and so was much else", "summary": f"thing {at} is done"} for at in range(9)
    ],
)
