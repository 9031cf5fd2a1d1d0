"""Answers that are pictures of a class: whose class they are, how near they come to real ones, and a grid of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.tables.task import Predictions
from pipelines.tasks.parts.pictures.frechet import frechet_distance, moments
from pipelines.tasks.parts.plots import new_figure, write_figure

METRICS: Mapping[str, bool] = {"frechet_distance": False, "class_asked": True}
_SHOWN = 8  # drawn and as many real pictures of a class
_SHOWN_CLASSES = 10

Array = np.ndarray[Any, np.dtype[Any]]


def measure(predictions: Predictions) -> Predictions:
    """Features of the drawn and of the real picture of each row, and whether the class asked for was drawn.

    No numbers where another extractor than the real pictures' made the features: they cannot be compared.
    """
    real, drawn = (predictions[name].astype(np.float64) for name in ("real_features", "features"))
    middle = real.mean(axis=0)  # the covariance of numbers far from 0 loses digits
    other = (predictions["extractor"] != predictions["real_extractor"]).any()
    right = (predictions["scores"].argmax(axis=1) == predictions["label"]).astype(np.float64)
    return {
        "real": real - middle,
        "drawn": np.full_like(drawn, np.nan) if other else drawn - middle,
        "right": np.full_like(right, np.nan) if other else right,
    }


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """METRICS. class_asked: the share of drawn pictures that the extractor takes for the class asked for."""
    right = float(weights @ measured["right"] / weights.sum())
    if np.isnan(right):
        return dict.fromkeys(METRICS, right)
    drawn, real = (moments(measured[name], weights) for name in ("drawn", "real"))
    return {"frechet_distance": frechet_distance(drawn, real), "class_asked": right}


def grid(drawn: Sequence[Array], real: Sequence[Array], labels: Array, names: Sequence[str], path: Path) -> None:
    """Write a picture with a line a class: some drawn pictures, a gap, some real ones."""
