"""Rings and chains with a few more edges, whose atoms say which most of the time; one has an edge to no node."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from core.schema.model import Architecture
from tests.conftest import Workspace
from tests.samples import Sample


def graph_rows(count: int = 160) -> list[dict[str, Any]]:
    random = np.random.default_rng(5)
    rows = []
    for at in range(count):
        size, ring = int(random.integers(4, 9)), at % 2
        edges = [[one, one + 1] for one in range(size - 1)] + ([[size - 1, 0]] if ring else [])
        kinds = ("C", "N") if ring else ("C", "O")
        nodes = [
            {"kind": kinds[int(random.random() < 0.4)], "charge": round(float(random.normal()), 2)} for _ in range(size)
        ]
        rows.append({"graph": json.dumps({"nodes": nodes, "edges": edges}), "label": ("chain", "ring")[ring]})
    return rows


def write(workspace: Workspace) -> None:
    workspace.write_rows([*graph_rows(), {"graph": '{"nodes": ["C", "O"], "edges": [[0, 2]]}', "label": "chain"}])


SAMPLE = Sample(
    write,
    "task: graph_classification\ndata: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "preprocess: {categories: [kind], numbers: [charge]}\n"
    "model: {base: {architecture: gin, settings: {hidden_size: 16, dropout: 0.0}}, method: pretrain}\n",
    "leads to node 2, and the graph has 2",
    Architecture(architecture="gin", settings={"hidden_size": 16, "dropout": 0.0}),
    like=[{"graph": {"nodes": ["C", "O", at], "edges": [[0, 1]]}, "label": "ab"[at % 2]} for at in range(30)],
)
