"""tabular_regression: numbers, categories and dates of a row -> a number.

An estimator of scikit-learn by name, or a network with embeddings of categories. A row: {"rooms": 3, "town": "Porto",
"built": "1974-01-01", "target": 182000}; the recipe's `preprocess:` says which columns are inputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.schema.columns import Column, Contract
from core.schema.model import Model
from core.schema.section import Section
from core.tables.task import Place, Predictions, RowAnswers, Task
from pipelines.tasks.parts.answers import numbers
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

TARGET = "target"


class TabularRegression(FromColumns):
    contract = Contract(
        {TARGET: Column("number")}, inputs=(), targets=(TARGET,), named=column_input.NAMED, repeats=True
    )
    answer: Answer = "number"
    metrics = numbers.METRICS
    primary = "rmse"
    simple: Sequence[str] = ("linear_regression",)

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        assert isinstance(options, Options)
        numbers.prepare((rows[TARGET] for rows in batches), at.folder)
        column_input.prepare(batches, options, at.folder)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        import pyarrow as pa

        found = column_input.encoded(rows, column_input.read(at.folder))
        return found.append_column("labels", pa.array(self.truth(rows, at)[numbers.TRUE]))

    def network(self, model: Model, known: Columns, at: Place) -> Any:
        from pipelines.tasks.parts.tables import column_network

        scale = numbers.read(at.folder)
        return column_network.build(model, at.base, known, outputs=1, seed=at.seed, scale=scale)

    def told(self, said: Array, labels: Array) -> History:
        return numbers.validated(said, labels)

    def predictor(self, model: Any, known: Columns, folder: Path, *, network: bool) -> Predictor:
        return NetworkNumbers(model, known) if network else EstimatedNumbers(model, known)

    def units(self, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        return rows

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        return {numbers.TRUE: units[TARGET].to_numpy(float)}

    def measure(self, predictions: Predictions) -> Predictions:
        return numbers.measure(predictions)

    def score(self, measured: Predictions, weights: Array) -> dict[str, float]:
        return numbers.score(measured, weights)

    def by_row(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> RowAnswers:
        return numbers.by_row(predictions)

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        found = {"mean": numbers.constant(numbers.read(at.folder)[0], len(units))}
        if not at.base.starts(self.simple[0]):
            found[self.simple[0]] = {numbers.SAID: self.simple_answers(train, units, at)}
        return found

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        return {}

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        numbers.plots(predictions, folder=folder)


class EstimatedNumbers(ColumnAsker):
    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        return {numbers.SAID: self.said(rows)}

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return numbers.answers(predictions)


class NetworkNumbers(NetworkAsker, EstimatedNumbers):
    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        return {numbers.SAID: self.said(rows)[:, 0].astype(float)}


TASK: Task = TabularRegression()
