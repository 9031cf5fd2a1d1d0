"""node_classification: a node of a graph, by what is known of it and of those it is linked to -> one label of a set.

GCN, GAT, GraphSAGE or GIN; logistic regression on a node's own features; labels passed along the links. A row:
{"node": "31336", "links": ["1106112", "85352"], "words": "neural network prior", "label": "theory"}.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from core.atomic_files import read_json, write_json
from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.keys import label_name
from core.tables.learner import Learner, TorchLearner
from core.tables.prepared import read_rows
from core.tables.task import Base, Place, Predictions, Predictor, Task
from pipelines.tasks.parts import classification
from pipelines.tasks.parts.graphs import graph_settings, node_features, node_graph, simple_nodes
from pipelines.tasks.parts.graphs.node_features import NeededFeatures, NodeFeatures
from pipelines.tasks.parts.graphs.node_graph import LINKS, NODE, NodeGraph

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_SAMPLED = "sampling.json"


class Options(NeededFeatures):
    directed: Annotated[bool, Field(description="a node hears those that it names, and no others")] = False
    self_links: Annotated[bool, Field(description="whether a row may name itself; false: it is set aside")] = True
    neighbours: Annotated[
        int | None,
        Field(ge=1, description="links of a node that a training batch follows, drawn anew each time; by default all"),
    ] = None


class NodeClassification(classification.Labelled):
    contract = Contract(
        {
            NODE: Column("category", empty=True), LINKS: Column("links", of=NODE, empty=True),
            "label": Column("category", empty=True),
        },
        inputs=(NODE, LINKS), targets=("label",), key=(NODE,), agreed=(LINKS, "label"), named=node_features.NAMED,
        self_links="self_links",
    )  # fmt: skip
    methods: Sequence[Method] = ("pretrain",)
    simple: Sequence[str] = (simple_nodes.FEATURES, simple_nodes.PROPAGATION)
    Preprocess: type[Section] = Options
    modules: Sequence[str] = ("torch_geometric",)

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        training = {"epochs": 100.0, "batch_size": 256, "learning_rate": 1e-2, "schedule": "constant"}
        return {"model": {"method": "pretrain"}, "training": training}

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        graph_settings.check(model, base, self.simple)

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        """The graph is of all rows, whatever their split; labels are the training rows' alone."""
        assert isinstance(options, Options)
        classification.write_labels(batches, at.folder)
        rows = read_rows(at.folder.parent)
        known = node_features.prepare([rows], options, at.folder)
        node_graph.of_rows(rows, known, directed=options.directed).save(at.folder)
        write_json(at.folder / _SAMPLED, options.neighbours)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        import pyarrow as pa

        nodes = pa.array([label_name(name) for name in rows[NODE]], pa.string())
        return pa.table({NODE: nodes, "labels": pa.array(self.truth(rows, at)["label"])})

    def learner(self, model: Model, at: Place) -> Learner | TorchLearner:
        graph_settings.check(model, at.base, self.simple)
        assert at.base.architecture is not None
        classes, known, graph = _read(at.folder)
        if (name := at.base.architecture.architecture) in self.simple:
            return simple_nodes.SimpleLearner(name, graph, classes)
        from pipelines.tasks.parts.graphs import graph_network, node_batches

        module = graph_network.build(model, at.base, width=known.width, outputs=classes, seed=at.seed)
        most = read_json(at.folder / _SAMPLED)
        collate = partial(node_batches.collate, graph=graph, module=module, most=most)
        return TorchLearner(module, collate, watch=classification.right, labels=True)

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        if isinstance(learnt, simple_nodes.SimpleLearner):
            learnt.fitted.save(into)
            return
        from pipelines.tasks.parts.graphs import graph_network

        assert isinstance(learnt, TorchLearner)
        graph_network.save(learnt.module, into)

    def load(self, folder: Path) -> Predictor:
        labels, (_, known, graph) = classification.read_labels(folder), _read(folder)
        if simple_nodes.is_kept(folder):
            return NodePredictor(simple_nodes.load(folder), known, graph, labels)
        from pipelines.tasks.parts.graphs import graph_network

        return NetworkPredictor(graph_network.load(folder), known, graph, labels)

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        classes, _, graph = _read(at.folder)
        found = {"majority": classification.majority(self.truth(train, at)["label"], len(units), classes=classes)}
        for name in self.simple:
            if not at.base.starts(name):
                learner, encoded = simple_nodes.SimpleLearner(name, graph, classes), self.encode(train, at)
                learner.fit(encoded, encoded[:0])
                found[name] = {"probabilities": learner.said([str(label_name(node)) for node in units[NODE]])}
        return found


class NodePredictor(classification.LabelPredictor):
    """Answers by the graph that is kept with the model. features: the columns that are sent beside node and links."""

    def __init__(self, module: Any, known: NodeFeatures, graph: NodeGraph, labels: Sequence[str]) -> None:
        self.module, self.known, self.graph, self.labels = module, known, graph, labels
        self.features = known.columns

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        these = node_graph.asked(rows, self.graph, self.known)
        return {"probabilities": simple_nodes.answered(self.module, these)}


class NetworkPredictor(NodePredictor):
    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        from pipelines.tasks.parts.graphs import node_batches

        said = node_batches.logits(self.module, node_graph.asked(rows, self.graph, self.known), self.graph)
        return {"probabilities": classification.softmax(said)}


def _read(folder: Path) -> tuple[int, NodeFeatures, NodeGraph]:
    """How many classes there are, what is known of nodes, and the graph."""
    known = NodeFeatures(folder)
    return len(classification.read_labels(folder)), known, node_graph.read(folder, known.width)


TASK: Task = NodeClassification()
