"""Nodes and their neighbourhoods as batches of tensors, and what a network says of nodes. Imports torch at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.tables.learner import Row
from core.weights.device import ready
from pipelines.tasks.parts.graphs.graph_network import GraphNetwork
from pipelines.tasks.parts.graphs.node_graph import NODE, Array, Asked, NodeGraph, neighbourhood, of_graph

_AT_ONCE = 64  # nodes that are asked about together


def collate(rows: list[Row], *, graph: NodeGraph, module: GraphNetwork, most: int | None) -> dict[str, Tensor]:
    """A batch of encoded rows and their labels. most: links of a node that are followed; None: all."""
    labels = torch.tensor([row["labels"] for row in rows])
    return {**batch(of_graph(graph, [row[NODE] for row in rows]), graph, module, most=most), "labels": labels}


def batch(these: Asked, graph: NodeGraph, module: GraphNetwork, *, most: int | None = None) -> dict[str, Tensor]:
    """What the network takes, without labels.

    A link's weight is GCN's, 1 / sqrt((a + 1) (b + 1)) with a and b the links of its ends in the whole graph, times
    the links that it stands for (Kipf & Welling 2017, equation 2).
    """
    from pipelines.tasks.parts.graphs.sparse_arrays import vstack

    around = neighbourhood(these, graph, steps=module.network.num_layers, most=most)
    x = vstack([these.features, graph.features[around.nodes]]).toarray()
    heard = np.concatenate([np.diff(these.links.indptr), graph.heard[around.nodes]]) + 1.0
    sources, targets, drawn = around.sources, around.targets, around.drawn
    step_links = around.step_links
    if module.hears_itself:
        sources, targets, drawn, step_links = _with_themselves(sources, targets, drawn, around.steps, step_links)
    weights = drawn / np.sqrt(heard[sources] * heard[targets])
    return {
        "x": torch.from_numpy(x),
        "links": torch.from_numpy(np.stack([sources, targets])),
        "weights": torch.from_numpy(weights.astype(np.float32)),
        "steps": torch.tensor(around.steps),
        "step_links": torch.tensor(step_links),
    }


def logits(module: GraphNetwork, these: Asked, graph: NodeGraph) -> Array:
    """(asked, classes), by all of their neighbours."""
    device, parts = ready(module), []
    with torch.inference_mode():
        for start in range(0, these.links.shape[0], _AT_ONCE):
            made = batch(these.part(slice(start, start + _AT_ONCE)), graph, module)
            parts.append(module(**{name: value.to(device) for name, value in made.items()}).logits.cpu())
    return torch.cat(parts).numpy()


def _with_themselves(
    sources: Array, targets: Array, drawn: Array, steps: list[int], step_links: list[int]
) -> tuple[Array, Array, Array, list[int]]:
    """The links with one of each node to itself, behind those of the step in which its neighbours are heard."""
    cuts, starts = np.cumsum(step_links)[:-1], np.cumsum([0, *steps])
    found: list[list[Any]] = [[], [], []]
    for at, parts in enumerate(zip(*(np.split(each, cuts) for each in (sources, targets, drawn)), strict=True)):
        own = np.arange(starts[at], starts[at + 1])
        for into, part, more in zip(found, parts, (own, own, np.ones(len(own), np.float32)), strict=True):
            into += [part, more]
    counts = [links + nodes for links, nodes in zip(step_links, steps, strict=False)]
    one, two, three = map(np.concatenate, found)
    return one, two, three, counts
