"""graph_classification: a graph, by its nodes and how they are joined -> one label of a fixed set.

GCN, GAT, GraphSAGE or GIN with the mean (GIN: the sum) of the nodes; or logistic regression on a few counts. A row:
{"graph": {"nodes": ["C", "C", "O"], "edges": [[0, 1], [1, 2]]}, "label": "alcohol"}.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.learner import Learner, TorchLearner
from core.tables.task import Base, Place, Predictions, Predictor, Task
from pipelines.tasks.parts import classification, linear
from pipelines.tasks.parts.classification import Array
from pipelines.tasks.parts.graphs import graph_settings, whole_graphs
from pipelines.tasks.parts.graphs.node_features import NodeFeatures
from pipelines.tasks.parts.graphs.whole_graphs import COUNTS, ENDS, FEATURES, GRAPH, GraphOptions

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class GraphClassification(classification.Labelled):
    contract = Contract(
        {GRAPH: Column("graph"), "label": Column("category")}, inputs=(GRAPH,), targets=("label",),
        self_links="self_links",
    )  # fmt: skip
    methods: Sequence[Method] = ("pretrain",)
    simple: Sequence[str] = (COUNTS,)
    Preprocess: type[Section] = GraphOptions
    modules: Sequence[str] = ("torch_geometric",)

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        training = {"epochs": 60.0, "batch_size": 32, "learning_rate": 5e-3}
        return {"model": {"method": "pretrain"}, "training": training}

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        graph_settings.check(model, base, self.simple)

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        assert isinstance(options, GraphOptions)
        classification.write_labels(batches, at.folder)
        whole_graphs.prepare(batches, options, at.folder)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        import pyarrow as pa

        found = whole_graphs.encoded(whole_graphs.graphs_of(rows[GRAPH]), NodeFeatures(at.folder))
        return found.append_column("labels", pa.array(self.truth(rows, at)["label"]))

    def learner(self, model: Model, at: Place) -> Learner | TorchLearner:
        graph_settings.check(model, at.base, self.simple)
        classes, width = len(classification.read_labels(at.folder)), NodeFeatures(at.folder).width + 1
        if at.base.starts(COUNTS):
            return linear.OneStepLearner(
                partial(_summaries, width=width), partial(whole_graphs.fit_counts, classes=classes)
            )
        from pipelines.tasks.parts.graphs.graph_network import PooledNetwork, build

        module = build(model, at.base, width=width, outputs=classes, seed=at.seed, kind=PooledNetwork)
        collate = partial(_collate, width=width, hears_itself=module.hears_itself)
        return TorchLearner(module, collate, watch=classification.right, labels=True)

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        if isinstance(learnt, linear.OneStepLearner):
            learnt.fitted.save(into)
            return
        from pipelines.tasks.parts.graphs import graph_network

        assert isinstance(learnt, TorchLearner)
        graph_network.save(learnt.module, into)

    def load(self, folder: Path) -> Predictor:
        known, labels = NodeFeatures(folder), classification.read_labels(folder)
        if linear.is_kept(folder):
            return CountsPredictor(linear.load(folder)[0], known, labels)
        from pipelines.tasks.parts.graphs.graph_network import PooledNetwork, load

        return GraphPredictor(load(folder, PooledNetwork), known, labels)

    def simple_probabilities(self, train: pd.DataFrame, labels: Array, units: pd.DataFrame, at: Place) -> Array:
        names, known = classification.read_labels(at.folder), NodeFeatures(at.folder)
        told = whole_graphs.summary(whole_graphs.arrays(whole_graphs.graphs_of(train[GRAPH]), known))
        fitted = whole_graphs.fit_counts(told, labels, classes=len(names))
        return CountsPredictor(fitted, known, names).predict(units)["probabilities"]


class GraphPredictor(classification.LabelPredictor):
    def __init__(self, module: Any, known: NodeFeatures, labels: Sequence[str]) -> None:
        self.module, self.known, self.labels = module, known, labels

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        said = whole_graphs.logits(self.module, self._arrays(rows))
        return {"probabilities": classification.softmax(said)}

    def _arrays(self, rows: pd.DataFrame) -> list[tuple[Array, Array]]:
        return whole_graphs.arrays(whole_graphs.graphs_of(rows[GRAPH]), self.known)


class CountsPredictor(GraphPredictor):
    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        return {"probabilities": self.module.probabilities(whole_graphs.summary(self._arrays(rows)))}


def _collate(rows: list[dict[str, Any]], *, width: int, hears_itself: bool) -> dict[str, Any]:
    import torch

    graphs = [whole_graphs.decoded(row[FEATURES], row[ENDS], width) for row in rows]
    labels = torch.tensor([row["labels"] for row in rows])
    return {**whole_graphs.batch(graphs, hears_itself=hears_itself), "labels": labels}


def _summaries(table: pa.Table, *, width: int) -> Array:
    cells = zip(table[FEATURES].to_numpy(), table[ENDS].to_numpy(), strict=True)
    return whole_graphs.summary([whole_graphs.decoded(features, ends, width) for features, ends in cells])


TASK: Task = GraphClassification()
