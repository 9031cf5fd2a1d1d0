"""Nodes of two kinds, most linked to their own; words say the kind, and one row names a node that is not there."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from core.schema.model import Architecture
from tests.conftest import Workspace
from tests.samples import Sample

NODES = 240


def linked_rows(count: int = NODES) -> list[dict[str, Any]]:
    """Rows of a graph: every sixth has no label, the first no links."""
    random = np.random.default_rng(5)
    kinds = np.arange(count) % 2
    rows: list[dict[str, Any]] = []
    for at in range(count):
        ends = [int(other) for other in random.integers(0, count, 6) if other != at]
        near = [other for other in ends if kinds[other] == kinds[at]] + ends[:1]
        own = ("red", "blue")[kinds[at]]
        words = [own if random.random() < 0.9 else "blue", *(f"w{word}" for word in random.integers(0, 9, 3))]
        links = json.dumps([f"n{other}" for other in near]) if at else ""
        label = ("rose", "iris")[kinds[at]] if at % 6 else ""
        rows.append(
            {"node": f"n{at}", "links": links, "words": " ".join(words), "size": round(float(random.normal()), 2)}
            | {"kind": f"k{at % 3}", "label": label}
        )
    return rows


def write(workspace: Workspace) -> None:
    rows = linked_rows()
    workspace.write_rows([*rows, {**rows[1], "node": "stray", "links": '["n3", "nowhere"]'}])


SAMPLE = Sample(
    write,
    "task: node_classification\ndata: {source: rows.csv, id: node, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "preprocess: {words: [words], numbers: [size], categories: [kind]}\n"
    "model: {base: {architecture: gat, settings: {hidden_size: 16, heads: 2, dropout: 0.0}}, method: pretrain}\n",
    "names a row that is not there",
    Architecture(architecture="gat", settings={"hidden_size": 16, "heads": 2, "dropout": 0.0}),
    rate=1e-1,
    like=[
        {"node": f"n{at}", "links": [f"n{at // 2}"], "words": f"{'ab'[at % 2]} word of {at}", "label": "ab"[at % 2]}
        for at in range(30)
    ],
)
