"""A network over the columns of a table: numbers beside embeddings of categories, through a few layers.

Source: Guo & Berkhahn 2016, "Entity Embeddings of Categorical Variables". Imports torch at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.atomic_files import read_json, write_json
from core.schema.model import Model
from core.tables.learner import Said
from core.tables.task import Base, Interface
from core.weights.device import ready
from core.weights.tensor_files import write_tensors
from pipelines.tasks.parts.architecture import as_request, saved_weights
from pipelines.tasks.parts.tables import column_input
from pipelines.tasks.parts.tables.column_input import FIRST, Array, Columns
from pipelines.tasks.parts.tables.estimators import network_settings

DROPOUT = 0.1
_CONFIG = "network.json"
_AT_ONCE = 4096  # rows that are predicted together
_WIDEST = 50  # numbers of an embedding; a category of k values has 1.6 k ** 0.56 of them (Howard & Gugger 2020, fastai)


class ColumnNetwork(nn.Module):
    """Numbers, whether each is missing, and an embedding a category -> hidden layers -> logits, or a number.

    A value that training did not see, and none at all, are vectors of zeros. outputs: as many as labels; 1: a number,
    in its own measure. scale: mean and deviation of that number.
    """

    def __init__(
        self, known: Columns, hidden: Sequence[int], *, outputs: int, dropout: float, scale: tuple[float, float]
    ) -> None:
        super().__init__()
        self.config = {"hidden_sizes": list(hidden), "outputs": outputs, "scale": list(scale)}
        self.labels, (self.mean, self.deviation) = outputs > 1, scale
        widths = [min(_WIDEST, round(1.6 * size**0.56)) for size in known.sizes]
        self.embeddings = nn.ModuleList(map(nn.Embedding, known.sizes, widths))
        for embedding in self.embeddings:
            assert isinstance(embedding, nn.Embedding)
            nn.init.zeros_(embedding.weight[:FIRST].detach())
        sizes = [2 * known.width + sum(widths), *hidden]
        layers = [
            layer
            for before, size in pairwise(sizes)
            for layer in (nn.Linear(before, size), nn.ReLU(), nn.Dropout(dropout))
        ]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))

    def forward(self, numbers: Tensor, categories: Tensor, labels: Tensor | None = None) -> Said:
        missing = numbers.isnan()
        parts = [torch.where(missing, 0.0, numbers), missing.to(numbers.dtype)]
        parts += [embedding(categories[:, at]) for at, embedding in enumerate(self.embeddings)]
        logits = self.mean + self.deviation * self.layers(torch.cat(parts, dim=1))
        if labels is None:
            return Said(None, logits)
        if self.labels:
            return Said(nn.functional.cross_entropy(logits, labels), logits)
        errors = (logits[:, 0] - labels) / self.deviation
        return Said((errors**2).mean(), logits)


def build(
    model: Model, base: Base, known: Columns, *, outputs: int, seed: int, scale: tuple[float, float] = (0.0, 1.0)
) -> ColumnNetwork:
    """A network with fresh weights."""
    torch.manual_seed(seed)
    dropout = DROPOUT if model.dropout is None else model.dropout
    hidden = network_settings(base).hidden_sizes
    return ColumnNetwork(known, hidden, outputs=outputs, dropout=dropout, scale=scale)


def save(module: Any, folder: Path) -> None:
    write_tensors(module.state_dict(), folder / "model.safetensors")
    write_json(folder / _CONFIG, module.config)


def load(folder: Path, known: Columns) -> ColumnNetwork:
    """What save() wrote, ready to predict. Raises BadRequest."""
    with as_request(f"{folder}: its weights are of another model"):
        config = read_json(folder / _CONFIG)
        mean, deviation = config["scale"]
        hidden, outputs = config["hidden_sizes"], config["outputs"]
        module = ColumnNetwork(known, hidden, outputs=outputs, dropout=0.0, scale=(mean, deviation))
        module.load_state_dict(saved_weights(folder))
    return module.eval()


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
    """A batch of encoded rows and their labels."""
    numbers, categories = map(torch.from_numpy, column_input.stacked(rows))
    labels = torch.tensor([row["labels"] for row in rows])  # whole numbers, or float32
    return {"numbers": numbers, "categories": categories, "labels": labels}


def logits(module: nn.Module, numbers: Array, categories: Array) -> Array:
    """(rows, outputs), some thousand rows at a time."""
    device, parts = ready(module), []
    with torch.inference_mode():
        for start in range(0, len(numbers), _AT_ONCE):
            here = slice(start, start + _AT_ONCE)
            batch = (torch.from_numpy(array[here]).to(device) for array in (numbers, categories))
            parts.append(module(**dict(zip(("numbers", "categories"), batch, strict=True))).logits.cpu())
    return torch.cat(parts).numpy()


def interface(known: Columns) -> Interface:
    """How logits() calls the network."""
    inputs = {
        "numbers": torch.zeros(2, known.width),
        "categories": torch.zeros(2, len(known.categories), dtype=torch.int64),
    }
    return Interface(inputs, dict.fromkeys(inputs, ("rows", None)), ("logits",))
