"""multi_label_text_classification: a text -> any number of labels of a fixed set.

The networks and methods of text_classification, each label a question of its own; or TF-IDF. A row: {"text": "Alien.
Ridley Scott", "labels": ["Horror", "Science Fiction"]}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from core.atomic_files import read_json, write_json
from core.schema.columns import Column, Contract
from core.tables.task import LabelCounts, Place, Predictions, RowAnswers, Task
from pipelines.tasks.parts import classification, linear, text_input
from pipelines.tasks.parts.answers import several_labels
from pipelines.tasks.text import text_classification

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from core.schema.section import Section
    from core.tables.task import Predictor

_THRESHOLD = "threshold.json"


class Options(text_input.TextOptions):
    threshold: Annotated[float, Field(gt=0, lt=1, description="probability from which on a label is said")] = 0.5
    separator: Annotated[
        str | None, Field(min_length=1, description="between the labels of a text; without one they are a JSON list")
    ] = None


class _Several(classification.LabelPredictor):
    threshold = 0.5

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return several_labels.answers(predictions, self.labels, self.threshold)


class NetworkPredictor(_Several, text_classification.TextPredictor):
    probabilities = staticmethod(linear.sigmoid)


class TermsPredictor(_Several, text_classification.TfidfPredictor):
    pass


class MultiLabelTextClassification(text_classification.TextClassification):
    contract = Contract(
        columns={"text": Column("text"), "labels": Column("label_set", separator="separator")},
        inputs=("text",),
        targets=("labels",),
    )
    Preprocess: type[Section] = Options
    metrics = several_labels.METRICS
    primary = "micro_f1"
    of_one_label: Sequence[str] = ()
    classifier = linear.OneVsRest
    network = NetworkPredictor
    tfidf = TermsPredictor
    write_labels = staticmethod(several_labels.write_labels)
    watch = staticmethod(several_labels.right)

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        assert isinstance(options, Options)
        super().prepare(batches, options, at)
        write_json(at.folder / _THRESHOLD, options.threshold)

    def encoded_labels(self, rows: pd.DataFrame, at: Place) -> pa.Array:
        import pyarrow as pa

        marks = self.truth(rows, at)["marks"]
        return pa.FixedSizeListArray.from_arrays(pa.array(marks.reshape(-1)), marks.shape[1])

    def load(self, folder: Path) -> Predictor:
        found = super().load(folder)
        assert isinstance(found, _Several)
        found.threshold = read_json(folder / _THRESHOLD)
        return found

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        marks = several_labels.marks(units["labels"], classification.read_labels(at.folder))
        return {"marks": marks, "threshold": np.full(len(units), read_json(at.folder / _THRESHOLD))}

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        marks = self.truth(train, at)["marks"]
        found = {"commonest": several_labels.commonest(marks, len(units))}
        if not at.base.starts(self.simple[0]):
            found[self.simple[0]] = {"probabilities": self.simple_probabilities(train, marks, units, at)}
        return found

    def measure(self, predictions: Predictions) -> Predictions:
        return several_labels.measure(predictions)

    def score(self, measured: Predictions, weights: np.ndarray[Any, Any]) -> dict[str, float]:
        return several_labels.score(measured, weights)

    def label_counts(self, measured: Predictions, weights: np.ndarray[Any, Any]) -> LabelCounts:
        return several_labels.label_counts(measured, weights)

    def by_row(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> RowAnswers:
        return several_labels.by_row(predictions, axes.get("probabilities", ()))

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        return dict.fromkeys(("probabilities", "marks"), classification.read_labels(folder))

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        several_labels.plots(predictions, folder=folder, names=classification.read_labels(prepared))


TASK: Task = MultiLabelTextClassification()
