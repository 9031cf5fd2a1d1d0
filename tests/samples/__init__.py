"""What each task's battery learns from: a file a task, with made data, one planted fault and a small network.

A new task joins by its file here, found by listing; this one has what several of them share.
"""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from core.schema.model import Architecture
from core.tables.task import Predictions
from pipelines.bases import identify
from tests.conftest import Workspace, film_rows

BERT = Architecture(
    architecture="bert",
    settings={"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64},
)
PICTURES = "data: {source: pictures, reader: labelled_folders, split: {train: 0.6, validation: 0.2, test: 0.2}}"


@dataclass(frozen=True)
class Sample:
    """Data with one planted fault, and a network small enough to learn from it in seconds.

    architecture: None for a task that goes on from a base, which `write` then leaves in start/. said: of predictions,
    what is compared between two ways to get them. expected: the same from the module itself, and how close that is.
    drawn: whether the learner begins with numbers that its seed draws, if only those of a head on a base.
    like: rows of a person's own that `headrace new --from` finds the task's columns in; none: tickets have them.
    """

    write: Callable[[Workspace], None]
    recipe: str
    fault: str  # words of the reason that quarantine gives
    architecture: Architecture | None
    said: Callable[[Predictions], np.ndarray[Any, Any]] = lambda said: said["probabilities"]
    expected: Callable[[Any, dict[str, torch.Tensor], pd.DataFrame], torch.Tensor] = lambda module, batch, units: (
        module(**batch).logits.softmax(dim=-1)
    )
    close: float = 1e-5
    rate: float = 2e-2  # to overfit a batch with
    drawn: bool = True
    like: Sequence[Mapping[str, Any]] = ()


def samples() -> dict[str, Sample]:
    """Of each task that has one."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")
    return {name: importlib.import_module(f"tests.samples.{name}").SAMPLE for name in names}


def write_texts(workspace: Workspace) -> None:
    workspace.write_rows([*film_rows(160), {"text": "  ", "label": "pos"}])


def write_pictures(workspace: Workspace) -> None:
    random = np.random.default_rng(1)
    for number in range(160):
        pixels = random.integers(0, 120, (12, 12), dtype=np.uint8)
        label = ("left", "right")[number % 2]
        pixels[:, slice(0, 6) if label == "left" else slice(6, 12)] += 120
        file = workspace.path("pictures", label, f"{number}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    workspace.path("pictures", "left", "torn.png").write_bytes(_png(pixels)[:60])


def write_table(workspace: Workspace) -> None:
    """A number and a category say the label, and the target; some cells are empty, and one holds no number."""
    random = np.random.default_rng(3)
    rows: list[dict[str, Any]] = []
    for at in range(200):
        size, color, day = float(random.normal()), ("red", "green", "blue")[at % 3], 1 + at % 28
        large = size + (1.5 if color == "red" else 0.0) > 0.5
        cells = {"size": size if at % 17 else "", "color": color if at % 19 else "", "day": f"2024-02-{day:02}"}
        told = {"label": "large" if large else "small", "target": 3 * size + (4.0 if color == "red" else 0.0)}
        rows.append({**cells, "width": round(float(random.normal()), 1), **told})
    workspace.write_rows([*rows, {**rows[0], "width": "wide"}])


def pin_base(workspace: Workspace) -> None:
    """What the lock says of the base in start/."""
    identity = identify("./start", workspace.root).model_dump()
    workspace.write("recipes/tiny.lock", json.dumps({"source": {"kind": "path"}, "bases": {"./start": identity}}))


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
