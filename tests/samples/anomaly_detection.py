"""Two numbers that go together, and a category; anomalies are far out, or go against each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from core.schema.model import Architecture
from tests.conftest import Workspace
from tests.samples import Sample


def machine_rows(count: int = 200, seed: int = 5) -> list[dict[str, Any]]:
    """Load and heat of a machine: heat follows load. Every fifth row is an anomaly."""
    random, rows = np.random.default_rng(seed), list[dict[str, Any]]()
    for at in range(count):
        load, odd = float(random.normal()), at % 5 == 4
        heat = load + 0.1 * float(random.normal())
        if odd:
            load, heat = (load, heat - 3) if at % 2 else (6 + abs(load), heat + 6)
        cells = {"load": round(load, 3), "heat": round(heat, 3), "mode": ("day", "night")[at % 2]}
        rows.append({**cells, "label": "broken" if odd else "normal"})
    return rows


def _machines(workspace: Workspace) -> None:
    rows = machine_rows()
    workspace.write_rows([*rows, {**rows[0], "heat": "inf"}])


def _shares(errors: torch.Tensor) -> torch.Tensor:
    """Of load and heat in the error of each row: the score itself is in thresholds, which the module does not know."""
    return errors[:, :2] / errors.sum(dim=1, keepdim=True)


SAMPLE = Sample(
    _machines,
    "task: anomaly_detection\ndata: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "preprocess: {numbers: [load, heat], categories: [mode]}\n"
    "model: {base: {architecture: autoencoder}, method: pretrain}\n",
    "not a finite number",
    Architecture(architecture="autoencoder", settings={"hidden_sizes": [16], "code_size": 1}),
    said=lambda said: said["contribution"][:, :2] / said["contribution"].sum(axis=1, keepdims=True),
    expected=lambda module, batch, units: _shares((module(**batch).rebuilt - batch["vectors"]) ** 2),
)
