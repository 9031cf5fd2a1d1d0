"""tabular_classification: numbers, categories and dates of a row -> one label of a fixed set.

An estimator of scikit-learn by name, or a network with embeddings of categories. A row: {"age": 44, "job": "nurse",
"since": "2019-05-01", "label": "stays"}; the recipe's `preprocess:` says which columns are inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from core.schema.columns import Column, Contract
from core.schema.model import Model
from core.schema.section import Section
from core.tables.task import Place, Predictions, Task
from pipelines.tasks.parts import classification, linear
from pipelines.tasks.parts.answers import label_ranks
from pipelines.tasks.parts.classification import Array
from pipelines.tasks.parts.tables import column_input
from pipelines.tasks.parts.tables.column_input import Columns, Options
from pipelines.tasks.parts.tables.column_task import ColumnAsker, FromColumns, NetworkAsker
from pipelines.tasks.parts.tables.estimators import Answer

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from core.tables.learner import History
    from core.tables.task import Predictor


class TabularClassification(FromColumns, classification.Labelled):
    contract = Contract(
        {"label": Column("category")}, inputs=(), targets=("label",), named=column_input.NAMED, repeats=True
    )
    answer: Answer = "label"
    metrics: Mapping[str, bool] = MappingProxyType({**classification.METRICS, **label_ranks.METRICS})
    simple: Sequence[str] = ("logistic_regression",)
    watch = staticmethod(classification.right)

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        assert isinstance(options, Options)
        classification.write_labels(batches, at.folder)
        column_input.prepare(batches, options, at.folder)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        import pyarrow as pa

        found = column_input.encoded(rows, column_input.read(at.folder))
        return found.append_column("labels", pa.array(self.truth(rows, at)["label"]))

    def network(self, model: Model, known: Columns, at: Place) -> Any:
        from pipelines.tasks.parts.tables import column_network

        classes = len(classification.read_labels(at.folder))
        return column_network.build(model, at.base, known, outputs=classes, seed=at.seed)

    def told(self, said: Array, labels: Array) -> History:
        return linear.validated(said, labels)

    def predictor(self, model: Any, known: Columns, folder: Path, *, network: bool) -> Predictor:
        labels = classification.read_labels(folder)
        return NetworkLabels(model, known, labels) if network else EstimatedLabels(model, known, labels)

    def measure(self, predictions: Predictions) -> Predictions:
        return {**super().measure(predictions), **label_ranks.measure(predictions)}

    def score(self, measured: Predictions, weights: Array) -> dict[str, float]:
        return {**super().score(measured, weights), **label_ranks.score(measured, weights)}

    def simple_probabilities(self, train: pd.DataFrame, labels: Array, units: pd.DataFrame, at: Place) -> Array:
        return self.simple_answers(train, units, at)


class EstimatedLabels(ColumnAsker, classification.LabelPredictor):
    def __init__(self, model: Any, known: Columns, labels: Sequence[str]) -> None:
        super().__init__(model, known)
        self.labels = labels

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        return {"probabilities": self.said(rows)}


class NetworkLabels(NetworkAsker, EstimatedLabels):
    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        return {"probabilities": classification.softmax(self.said(rows))}


TASK: Task = TabularClassification()
