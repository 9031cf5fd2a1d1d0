"""Rows that are graphs: their nodes' features and links as arrays, in encoded rows and in batches, and what a few
counts say of each graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from core.cells.graph_cells import Graph, graph_of
from core.errors import BadData, BadRequest
from pipelines.tasks.parts import linear
from pipelines.tasks.parts.graphs import node_features
from pipelines.tasks.parts.graphs.node_features import FeatureOptions, NodeFeatures

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from torch import Tensor

GRAPH, FEATURES, ENDS = "graph", "features", "ends"  # a column of rows; columns of encoded rows
COUNTS = "graph_counts"  # what logistic regression on summary() is called
_DEGREES = 8  # links of a node from which on it counts as one of many
_AT_ONCE = 256  # graphs that are asked about together
Array = np.ndarray[Any, np.dtype[Any]]


class GraphOptions(FeatureOptions):
    self_links: Annotated[bool, Field(description="whether a node may be joined to itself; false: set aside")] = True


def graphs_of(cells: Iterable[Any]) -> list[Graph]:
    """Raises BadRequest for what is no graph."""
    found = []
    for number, cell in enumerate(cells, start=1):
        try:
            found.append(graph_of(cell))
        except (ValueError, RecursionError) as fault:
            raise BadRequest(f"input {number}: {fault}.") from None
    return found


def prepare(batches: Iterable[pd.DataFrame], options: GraphOptions, folder: Path) -> None:
    """Learn from the nodes of the training graphs. Raises BadData for a feature that no node has, or that all have."""
    nodes = _nodes([graph for rows in batches for graph in graphs_of(rows[GRAPH])])
    for name in options.columns:
        if name not in nodes:
            raise BadData(f"preprocess: no node has {name!r}. They have: {', '.join(map(str, nodes.columns))}.")
        if nodes[name].nunique(dropna=False) < 2:
            raise BadData(f"preprocess: {name!r} is {nodes[name][0]!r} in every node: it tells none from another.")
    node_features.prepare([nodes], options, folder)


def arrays(graphs: Sequence[Graph], known: NodeFeatures) -> list[tuple[Array, Array]]:
    """Of each graph: features (nodes, width + 1) float32, the last of which is 1, and ends (2, links), both ways."""
    told = known.of(_nodes(graphs)).toarray() if graphs else np.zeros((0, known.width), np.float32)
    features = np.concatenate([told, np.ones((len(told), 1), np.float32)], axis=1)
    cuts = np.cumsum([len(graph.nodes) for graph in graphs])[:-1]
    pairs = [np.array(graph.edges, np.int64).reshape(-1, 2).T for graph in graphs]
    ends = [np.concatenate([each, each[::-1]], axis=1) for each in pairs]
    return list(zip(np.split(features, cuts), ends, strict=True))


def encoded(graphs: Sequence[Graph], known: NodeFeatures) -> pa.Table:
    """The same, each graph's numbers in one list."""
    import pyarrow as pa

    found = arrays(graphs, known)
    return pa.table(
        {
            FEATURES: pa.array([features.ravel() for features, _ in found], pa.list_(pa.float32())),
            ENDS: pa.array([ends.ravel() for _, ends in found], pa.list_(pa.int32())),
        }
    )


def decoded(features: Array, ends: Array, width: int) -> tuple[Array, Array]:
    """A graph of an encoded row. width: numbers of a node."""
    return features.reshape(-1, width), ends.reshape(2, -1).astype(np.int64)


def batch(graphs: Sequence[tuple[Array, Array]], *, hears_itself: bool) -> dict[str, Tensor]:
    """Graphs beside each other as one, with GCN's weights. graphs: as arrays() has them; see node_batches.batch()."""
    import torch

    sizes = [len(features) for features, _ in graphs]
    starts = np.cumsum([0, *sizes])[:-1]
    parts = [ends + start for (_, ends), start in zip(graphs, starts, strict=True)]
    nodes = np.arange(sum(sizes))
    heard = np.bincount(np.concatenate(parts, axis=1)[1], minlength=len(nodes)) + 1.0
    links = np.concatenate([*parts, *([np.stack([nodes, nodes])] if hears_itself else [])], axis=1)
    return {
        "x": torch.from_numpy(np.concatenate([features for features, _ in graphs])),
        "links": torch.from_numpy(links),
        "weights": torch.from_numpy((1 / np.sqrt(heard[links[0]] * heard[links[1]])).astype(np.float32)),
        "graphs": torch.from_numpy(np.repeat(np.arange(len(graphs)), sizes)),
    }


def logits(module: Any, graphs: Sequence[tuple[Array, Array]]) -> Array:
    """(graphs, classes), some at a time."""
    import torch

    from core.weights.device import ready

    device, parts = ready(module), []
    with torch.inference_mode():
        for start in range(0, len(graphs), _AT_ONCE):
            made = batch(graphs[start : start + _AT_ONCE], hears_itself=module.hears_itself)
            parts.append(module(**{name: value.to(device) for name, value in made.items()}).logits.cpu())
    return torch.cat(parts).numpy()


def summary(graphs: Sequence[tuple[Array, Array]]) -> Array:
    """(graphs, numbers): how many nodes and links, the share of nodes with 0, 1 ... links, their mean features."""
    found = []
    for features, ends in graphs:
        degrees = np.bincount(ends[1], minlength=len(features)).clip(max=_DEGREES)
        shares = np.bincount(degrees, minlength=_DEGREES + 1) / len(features)
        found.append([len(features), ends.shape[1] / 2, *shares, *features.mean(axis=0)])
    return np.array(found, np.float64)


def fit_counts(told: Array, labels: Array, *, classes: int) -> linear.LinearClassifier:
    """Logistic regression on summary(), each number brought to mean 0 and deviation 1; that scale is in the weights."""
    mean, deviation = told.mean(axis=0), told.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1)
    found = linear.fit((told - mean) / deviation, labels, classes=classes, strength=1.0, rounds=1000)
    weights = found.weights / deviation
    return linear.LinearClassifier(weights, found.bias - weights @ mean)


def _nodes(graphs: Sequence[Graph]) -> pd.DataFrame:
    """A row a node of all graphs."""
    import pandas as pd

    return pd.DataFrame([node for graph in graphs for node in graph.nodes])
