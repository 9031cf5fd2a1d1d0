"""Labels of nodes without a network: by a node's own features alone, or by its neighbours' labels alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.tasks.parts import linear
from pipelines.tasks.parts.graphs.node_graph import NODE, Array, Asked, NodeGraph, of_graph

if TYPE_CHECKING:
    import pyarrow as pa

    from core.tables.learner import History

FEATURES, PROPAGATION = "logistic_regression", "label_propagation"
_FILE, _SHARES = "propagated.safetensors", "shares"
_KEPT, _ROUNDS = 0.9, 50  # share of what neighbours say in each round; rounds (Zhou et al. 2004, section 4, have .99)

fit = partial(linear.fit, strength=100.0, rounds=1000)  # what it makes of features, and labels; C suits sums of 1


@dataclass(frozen=True)
class Propagated:
    """says: (nodes, classes), what each node of the graph was told by its neighbours. shares: of the training rows."""

    says: Array
    shares: Array

    def probabilities(self, these: Asked) -> Array:
        """Of a node of the graph what it was told there; of a new one the mean of those it hears.

        Where nothing was told, the shares.
        """
        known = these.known
        heard = np.diff(these.links.indptr)[:, None]
        found = np.where((known >= 0)[:, None], self.says[known], these.links @ self.says / np.maximum(heard, 1))
        total = found.sum(axis=1, keepdims=True)
        return np.where(total > 0, found / np.where(total > 0, total, 1), self.shares)

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        save_file({"says": self.says, _SHARES: self.shares}, folder / _FILE)


def propagate(graph: NodeGraph, nodes: Array, labels: Array, *, classes: int) -> Propagated:
    """Spread the labels of some nodes along the links.

    Each round a node takes _KEPT of what its neighbours say, weighed by both ends' links; the rest is its own label.
    Source: Zhou et al. 2004, "Learning with Local and Global Consistency".
    """
    from pipelines.tasks.parts.graphs.sparse_arrays import diags

    told = np.zeros((len(graph.names), classes))
    told[nodes, labels] = 1
    scale = diags(1 / np.sqrt(np.maximum(graph.heard, 1)))
    spread, says = scale @ graph.links @ scale, told
    for _ in range(_ROUNDS):
        says = _KEPT * (spread @ says) + (1 - _KEPT) * told
    return Propagated(says, np.bincount(labels, minlength=classes) / len(labels))


@dataclass
class SimpleLearner:
    """Fits one of the two to encoded rows. fitted: after fit()."""

    name: str
    graph: NodeGraph
    classes: int
    fitted: Any = None

    def fit(self, train: pa.Table, validation: pa.Table) -> History:
        labels, names = train["labels"].to_numpy(), train[NODE].to_pylist()
        if self.name == FEATURES:
            self.fitted = fit(of_graph(self.graph, names).features, labels, classes=self.classes)
        else:
            self.fitted = propagate(self.graph, of_graph(self.graph, names).known, labels, classes=self.classes)
        if not validation.num_rows:
            return []
        said = self.said(validation[NODE].to_pylist())
        return linear.validated(said, validation["labels"].to_numpy())

    def said(self, names: list[str]) -> Array:
        """(nodes, classes) of nodes of the graph."""
        return answered(self.fitted, of_graph(self.graph, names))


def answered(fitted: Any, these: Asked) -> Array:
    """What one of the two says of nodes that are asked about: (asked, classes)."""
    if isinstance(fitted, Propagated):
        return fitted.probabilities(these)
    found: Array = fitted.probabilities(these.features)
    return found


def is_kept(folder: Path) -> bool:
    return linear.is_kept(folder) or (folder / _FILE).is_file()


def load(folder: Path) -> Any:
    """What either wrote."""
    from safetensors.numpy import load_file

    if linear.is_kept(folder):
        return linear.load(folder)[0]
    arrays = load_file(folder / _FILE)
    return Propagated(arrays["says"], arrays[_SHARES])
