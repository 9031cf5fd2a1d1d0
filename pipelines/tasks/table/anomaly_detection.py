"""anomaly_detection: how unlike what is normal a row of a table, a window of a series or a picture is, and why.

An autoencoder, a variational one, or a detector of scikit-learn by name. It learns from rows that are not known to be
anomalies; labels are there to measure it. A row: {"radius": 14.1, "texture": 20.3, "label": "normal"}; one of a series
is a step, {"time": "2014-07-01T00:30:00", "value": 8127}; one of pictures {"path": "media/ab/ab12.png"}.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.learner import Learner, TorchLearner
from core.tables.task import Base, Place, Predictions, RowAnswers, Task
from pipelines.tasks.parts.anomalies import detectors, vector_kinds
from pipelines.tasks.parts.anomalies.vector_kinds import vectors_of
from pipelines.tasks.parts.anomalies.vectors import LABEL, Array, Options, anomalous, read
from pipelines.tasks.parts.answers import anomaly_scores
from pipelines.tasks.parts.inputs import series
from pipelines.tasks.parts.tables import column_input, estimators

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from core.tables.task import Predictor

_LABEL = {LABEL: Column("category", required=False)}
_STEPS = {
    series.WHEN: Column("time"),
    series.NAME: Column("category", required=False),
    series.VALUE: Column("number", required=False),
}
SERIES = Contract(
    {**_STEPS, **_LABEL}, inputs=(series.VALUE,), targets=(LABEL,), key=(series.NAME, series.WHEN), agreed=(LABEL,),
    named={"values": Column("number")},
)  # fmt: skip
PICTURES = Contract({"path": Column("media"), **_LABEL}, inputs=("path",), targets=(LABEL,), media="image")


class AnomalyDetection:
    contract = Contract(
        _LABEL, inputs=(), targets=(LABEL,), named=column_input.NAMED, repeats=True,
        instead={"values": SERIES, "pictures": PICTURES},
    )  # fmt: skip
    methods: Sequence[Method] = ("pretrain",)
    metrics = anomaly_scores.METRICS
    primary = "roc_auc"
    simple: Sequence[str] = ("z_score", "mahalanobis", "pca")
    Preprocess: type[Section] = Options
    modules: Sequence[str] = ()

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        training = {"epochs": 40.0, "batch_size": 32, "learning_rate": 2e-3}
        return {"model": {"method": "pretrain"}, "training": training}

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        estimators.check(model, base, "anomaly")

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        assert isinstance(options, Options)
        vector_kinds.prepare(batches, options, at)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        """Of the rows that are not known to be anomalies: nothing is learnt from the others."""
        import numpy as np
        import pyarrow as pa

        kept = np.flatnonzero(~anomalous(rows, read(at.folder)))
        found = vectors_of(at.folder).encode(rows.iloc[kept], at.media)
        return found.append_column("of", pa.array(kept))

    def learner(self, model: Model, at: Place) -> Learner | TorchLearner:
        estimators.check(model, at.base, "anomaly")
        return detectors.learner(model, at)

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        detectors.save(learnt, at, into)

    def load(self, folder: Path) -> Predictor:
        return detectors.load(folder)

    def units(self, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        """The rows of which it is known what they are, or the windows of such steps."""
        options = read(folder)
        kept = rows[vector_kinds.told(rows, options)]
        return vectors_of(folder).units(kept.assign(anomalous=anomalous(kept, options)), folder.parent)

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        return {anomaly_scores.TRUE: units["anomalous"].to_numpy(bool)}

    def measure(self, predictions: Predictions) -> Predictions:
        return anomaly_scores.measure(predictions)

    def score(self, measured: Predictions, weights: Array) -> dict[str, float]:
        return anomaly_scores.score(measured, weights)

    def by_row(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> RowAnswers:
        return anomaly_scores.by_row(predictions)

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        names = [name for name in self.simple if not at.base.starts(name)]
        constant = anomaly_scores.constant(len(units), len(vectors_of(at.folder).names))
        return {"constant": constant, **detectors.baselines(names, units, at)}

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        return {"contribution": vectors_of(folder).names}

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        anomaly_scores.plots(predictions, folder=folder)


TASK: Task = AnomalyDetection()
