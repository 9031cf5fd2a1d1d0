"""Intervals against scipy's bootstrap, and what pairing is for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from pipelines.bootstrap import sample
from pipelines.task import Predictions


def accuracy(predictions: Predictions) -> Mapping[str, float]:
    return {"accuracy": float((predictions["said"] == predictions["label"]).mean())}


def _said(share_right: float, rows: int = 400, seed: int = 0) -> Predictions:
    return {"said": (np.random.default_rng(seed).random(rows) < share_right).astype(int)}


TRUTH = {"label": np.ones(400, dtype=int)}


def test_the_interval_is_scipys() -> None:
    said = _said(0.8)
    ours = sample({"m": said}, TRUTH, accuracy, resamples=4000, seed=1)["m"].interval("accuracy")
    theirs = stats.bootstrap(
        (said["said"],), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.value == said["said"].mean()
    assert ours.low == pytest.approx(theirs.low, abs=0.005)
    assert ours.high == pytest.approx(theirs.high, abs=0.005)


def test_a_paired_difference_is_narrower_than_two_models_apart() -> None:
    """Two models that differ on 12 rows of 400: the rows that they share must not widen the difference."""
    first = _said(0.8)
    second = {"said": first["said"].copy()}
    second["said"][:12] = 1 - second["said"][:12]
    sampled = sample({"a": first, "b": second}, TRUTH, accuracy, resamples=2000, seed=1)
    paired = sampled["a"].difference(sampled["b"], "accuracy")
    theirs = stats.bootstrap(
        (first["said"] - second["said"],), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert paired.low == pytest.approx(theirs.low, abs=0.004)
    assert paired.high == pytest.approx(theirs.high, abs=0.004)
    alone = sampled["a"].interval("accuracy")
    assert paired.high - paired.low < 0.6 * (alone.high - alone.low)


def test_a_model_is_no_better_than_itself() -> None:
    sampled = sample({"a": _said(0.7), "b": _said(0.7)}, TRUTH, accuracy, resamples=200, seed=1)
    difference = sampled["a"].difference(sampled["b"], "accuracy")
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_the_one_sided_end_knows_which_way_is_better() -> None:
    sampled = sample({"good": _said(0.9), "bad": _said(0.5, seed=5)}, TRUTH, accuracy, resamples=500, seed=1)
    good, bad = sampled["good"], sampled["bad"]
    assert good.lower_difference(bad, "accuracy", confidence=0.95, more_is_better=True) > 0.3
    assert good.lower_difference(bad, "accuracy", confidence=0.95, more_is_better=False) < -0.3
    two_sided = good.difference(bad, "accuracy").low
    assert good.lower_difference(bad, "accuracy", confidence=0.975, more_is_better=True) == pytest.approx(two_sided)


def test_equal_seeds_give_equal_intervals() -> None:
    first, again, other = (
        sample({"m": _said(0.8)}, TRUTH, accuracy, resamples=200, seed=seed)["m"].draws["accuracy"]
        for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_no_rows_are_no_interval() -> None:
    with pytest.raises(ValueError, match="no rows"):
        sample({"m": {"said": np.array([])}}, {"label": np.array([])}, accuracy, resamples=10, seed=1)
