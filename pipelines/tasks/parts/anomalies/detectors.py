"""What says how far a vector is from normal, and which part of it says so: estimators of scikit-learn, or a network.

scikit-learn is imported by those functions that need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.atomic_files import read_json, write_json
from core.errors import BadData, BadRequest
from core.schema.columns import Column
from core.schema.model import Architecture, Model
from core.tables.learner import Learner, Row, TorchLearner
from core.tables.prepared import read_features
from core.tables.task import Interface, Place, Predictions
from pipelines.tasks.parts.anomalies.vector_kinds import vectors_of
from pipelines.tasks.parts.anomalies.vectors import Array, Vectors, read
from pipelines.tasks.parts.answers import anomaly_scores
from pipelines.tasks.parts.tables import estimators

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from core.tables.learner import History

NETWORKS = estimators.NETWORKS["anomaly"]
_KEPT = 0.9  # of the variance, by the components of `pca`, unless the recipe says how many there are
_AT_ONCE = 20_000  # vectors that trees or neighbours look at together
_FILE = "detector.json"


@dataclass
class DetectorLearner:
    """Fits an estimator to the vectors of the training rows."""

    told: Architecture
    vectors: Vectors
    seed: int
    _fitted: Any = None

    @property
    def pipeline(self) -> Any:
        assert self._fitted is not None
        return self._fitted

    def fit(self, train: pa.Table, validation: pa.Table) -> History:
        """validation: not asked."""
        self._fitted = fit(self.told, self.vectors.of_tables([train]), seed=self.seed)
        return []


def fit(told: Architecture, found: Array, *, seed: int) -> Any:
    """The estimator of that name behind a scaler, fitted. Raises BadRequest for vectors that it cannot be fitted to."""
    import torch
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    if told.architecture == "pca":
        told = told.model_copy(update={"settings": {"n_components": _KEPT, **told.settings}})
    made = estimators.estimator(told, "anomaly", seed=seed)
    pipeline = make_pipeline(StandardScaler(), made)
    try:
        with threadpool_limits(torch.get_num_threads()):  # `compute.threads` decides the last bits
            return pipeline.fit(found.astype(np.float64))
    except ValueError as error:
        what = " ".join(str(error).split())
        raise BadRequest(f"model.base: scikit-learn cannot fit it to these rows: {what}") from error


def scored(name: str, model: Any, rows: Array, part: Array) -> tuple[Array, Array]:
    """(rows,) how far each row is from normal, at least 0; (rows, parts) what each part adds to that.

    name: the architecture. model: what fit() gave, or the network. part: as Vectors has it.
    """
    if name in NETWORKS:
        from pipelines.tasks.parts.anomalies.autoencoder import rebuilt

        return _summed((rows.astype(np.float64) - rebuilt(model, rows)) ** 2 / rows.shape[1], part)
    if not len(rows):
        return np.zeros(0), np.zeros((0, int(part.max()) + 1))
    scaled, last = model[0].transform(rows.astype(np.float64)), model[-1]
    if name == "z_score":
        found = _by_part(np.abs(scaled), part, np.maximum)
        return found.max(axis=1), found
    if name == "pca":
        return _summed((scaled - last.inverse_transform(last.transform(scaled))) ** 2 / scaled.shape[1], part)
    if name == "mahalanobis":  # of the squared distance x' P x, number i has x_i (P x)_i: the sum of these is all of it
        moved = scaled - last.location_
        return _summed(moved * (moved @ last.precision_), part)
    return _without_each(last, scaled, part)


def threshold(scores: Array, contamination: float) -> float:
    """The score above which a share `contamination` of these lies, or less where some are equal."""
    found = float(np.quantile(scores, 1 - contamination, method="higher"))
    return max(float(f"{found:.6g}"), float(np.finfo(np.float32).tiny))


def said(found: tuple[Array, Array], at: float) -> Predictions:
    """score: in thresholds, 1 is where alarms begin; anomaly: whether it is above; contribution: of each part."""
    score, parts = found
    return {"score": score / at, "anomaly": score > at, "contribution": parts / at}


class AnomalyPredictor:
    """Asks a detector about rows. features: the columns that are sent."""

    def __init__(self, name: str, model: Any, vectors: Vectors, at: float) -> None:
        self.name, self.module, self.vectors, self.threshold = name, model, vectors, at
        self.features: Mapping[str, Column] = vectors.features

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        found = self.vectors.of_rows(rows, media or Path())
        return said(scored(self.name, self.module, found, self.vectors.part), self.threshold)

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return anomaly_scores.answers(predictions, self.vectors.names)


class RebuildingPredictor(AnomalyPredictor):
    """Asks a network, which can be exported."""

    def interface(self) -> Interface:
        from pipelines.tasks.parts.anomalies.autoencoder import interface

        return interface(len(self.vectors.part))


def learner(model: Model, at: Place) -> Learner | TorchLearner:
    """What is to be trained. Raises BadData where no validation row can make a threshold."""
    assert at.base.architecture is not None
    known = vectors_of(at.folder)
    _validation(known, at)
    if at.base.architecture.architecture not in NETWORKS:
        return DetectorLearner(at.base.architecture, known, at.seed)
    import torch

    from pipelines.tasks.parts.anomalies import autoencoder

    def collate(rows: list[Row]) -> dict[str, torch.Tensor]:
        return {"vectors": torch.from_numpy(known.stacked(rows))}

    module = autoencoder.build(model, at.base, len(known.part), seed=at.seed)
    return TorchLearner(module, collate, features=known.trained)


def save(learnt: Learner | TorchLearner, at: Place, into: Path) -> None:
    """Write a detector, and the threshold that the validation rows give it."""
    assert at.base.architecture is not None
    known, name = vectors_of(at.folder), at.base.architecture.architecture
    if isinstance(learnt, TorchLearner):
        from pipelines.tasks.parts.anomalies import autoencoder

        model = learnt.module
        autoencoder.save(model, into)
    else:
        from pipelines.tasks.parts.tables import estimator_file

        assert isinstance(learnt, DetectorLearner)
        model = learnt.pipeline
        estimator_file.save(model, into)
    scores, _ = scored(name, model, _validation(known, at), known.part)
    found = threshold(scores, read(at.folder).contamination)
    write_json(into / _FILE, {"architecture": name, "threshold": found})


def load(folder: Path) -> AnomalyPredictor:
    """What save() wrote, beside what prepare() left."""
    told, known = read_json(folder / _FILE), vectors_of(folder)
    name, at = told["architecture"], told["threshold"]
    if name in NETWORKS:
        from pipelines.tasks.parts.anomalies import autoencoder

        return RebuildingPredictor(name, autoencoder.load(folder), known, at)
    from pipelines.tasks.parts.tables import estimator_file

    return AnomalyPredictor(name, estimator_file.load(folder), known, at)


def baselines(names: Sequence[str], units: pd.DataFrame, at: Place) -> dict[str, Predictions]:
    """What estimators with their defaults say of the units, with thresholds as a model's are."""
    known, found = vectors_of(at.folder), {}
    train, asked = known.of_tables([read_features(at.folder.parent, "train")]), known.of_rows(units, at.media)
    validation, contamination = _validation(known, at), read(at.folder).contamination
    for name in names:
        model = fit(Architecture(architecture=name), train, seed=at.seed)
        began = threshold(scored(name, model, validation, known.part)[0], contamination)
        found[name] = said(scored(name, model, asked, known.part), began)
    return found


def _validation(known: Vectors, at: Place) -> Array:
    """The vectors of the validation rows that are not known to be anomalies. Raises BadData where there are none."""
    found = known.of_tables([read_features(at.folder.parent, split) for split in ("train", "validation")])
    if not len(found):
        raise BadData(
            "no validation row, or window of a series, is free of known anomalies, and the threshold is made of these. "
            "Give validation more rows (data.split)."
        )
    return found


def _summed(numbers: Array, part: Array) -> tuple[Array, Array]:
    found = _by_part(numbers, part, np.add)
    return found.sum(axis=1), found


def _by_part(numbers: Array, part: Array, joined: Any) -> Array:
    """(rows, parts) of (rows, width)."""
    order = np.argsort(part, kind="stable")
    return np.asarray(
        joined.reduceat(numbers[:, order], np.searchsorted(part[order], np.arange(part.max() + 1)), axis=1)
    )


def _without_each(last: Any, scaled: Array, part: Array) -> tuple[Array, Array]:
    """The score of trees or neighbours, and how much less it were with each part as it is on average."""
    parts = int(part.max()) + 1
    average = part[None, :] == np.arange(parts)[:, None]
    score, found = np.zeros(len(scaled)), np.zeros((len(scaled), parts))
    step = max(1, _AT_ONCE // (parts + 1))
    for start in range(0, len(scaled), step):
        some = scaled[start : start + step]
        asked = np.concatenate([some[:, None], np.where(average, 0.0, some[:, None])], axis=1)
        told = -last.score_samples(asked.reshape(-1, scaled.shape[1])).reshape(len(some), -1)
        score[start : start + step] = told[:, 0]
        found[start : start + step] = np.maximum(told[:, :1] - told[:, 1:], 0)
    return score, found
