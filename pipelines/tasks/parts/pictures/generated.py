"""Answers that are pictures of a class: whose class they are, and how near they come to real ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from core.tables.task import Predictions
from pipelines.tasks.parts.answers.frechet import frechet_distance, moments

METRICS: Mapping[str, bool] = {"frechet_distance": False, "class_asked": True}

Array = np.ndarray[Any, np.dtype[Any]]


def measure(predictions: Predictions) -> Predictions:
    """Features of the drawn and of the real picture of each row, and whether the class asked for was drawn.

    No numbers where another extractor than the real pictures' made the features: they cannot be compared.
    """
    real, drawn = (predictions[name].astype(np.float64) for name in ("real_features", "features"))
    middle = real.mean(axis=0)  # the covariance of numbers far from 0 loses digits
    right = (predictions["scores"].argmax(axis=1) == predictions["label"]).astype(np.float64)
    if (predictions["extractor"] != predictions["real_extractor"]).any():
        drawn, right = np.full_like(drawn, np.nan), np.full_like(right, np.nan)
    return {"real": real - middle, "drawn": drawn - middle, "right": right}


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """METRICS. class_asked: the share of drawn pictures that the extractor takes for the class asked for."""
    right = float(weights @ measured["right"] / weights.sum())
    if np.isnan(right):
        return dict.fromkeys(METRICS, right)
    drawn, real = (moments(measured[name], weights) for name in ("drawn", "real"))
    return {"frechet_distance": frechet_distance(drawn, real), "class_asked": right}
