"""How well probabilities order rows by each label: areas under the ROC curve, and average precision.

Both are of one label against all others, and of the rows' order alone. Rows are kept by bins of log-odds, so that a
score with other weights sorts nothing, and rows of two models can be weighed in one.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from core.tables.task import Predictions
from pipelines.tasks.parts.classification import Array

METRICS: Mapping[str, bool] = {"roc_auc": True, "average_precision": True}
_BINS = 8192  # of log-odds from -_FAR to _FAR: rows that are nearer than 0.005 count as tied
_FAR = 20.0
_CHANCE = 0.5  # area where there is nothing to tell apart
_RANKS = "ranks"


def measure(predictions: Predictions) -> Predictions:
    """The bin of each row for each label: (rows, labels)."""
    tiny = np.finfo(np.float64).tiny
    probabilities = predictions["probabilities"].astype(np.float64)
    odds = np.log(np.maximum(probabilities, tiny)) - np.log(np.maximum(1 - probabilities, tiny))
    place = (np.clip(odds, -_FAR, _FAR) + _FAR) / (2 * _FAR) * (_BINS - 1)
    return {_RANKS: np.round(place).astype(np.int64)}


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """METRICS, the mean over the labels that some rows have and some have not. Of two labels the areas are one.

    Where every row has the same label, the area is _CHANCE and the precision 1.
    """
    found = [
        one
        for label in range(measured[_RANKS].shape[1])
        if (one := areas(measured[_RANKS][:, label], measured["label"] == label, weights)) is not None
    ]
    area, precision = np.mean(found, axis=0) if found else (_CHANCE, 1.0)
    return {"roc_auc": float(area), "average_precision": float(precision)}


def areas(place: Array, own: Array, weights: Array) -> tuple[float, float] | None:
    """The area under the ROC curve, and the average precision, of rows in the order of `place`, a whole number each.

    own: (rows,) whether each row is to stand above the others. None where all are, or none is.
    """
    right = np.bincount(place, weights * own, int(place.max(initial=0)) + 1)
    wrong = np.bincount(place, weights, len(right)) - right
    if right.sum() <= 0 or wrong.sum() <= 1e-9 * weights.sum():
        return None
    below = np.cumsum(wrong) - wrong
    area = right @ (below + wrong / 2) / (right.sum() * wrong.sum())
    hits, found = np.cumsum(right[::-1]), np.cumsum((right + wrong)[::-1])
    precision = hits / np.where(found > 0, found, 1)
    return float(area), float(right[::-1] @ precision / right.sum())
