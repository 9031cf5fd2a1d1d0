"""Intervals against scipy's bootstrap, and what pairing is for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]
from scipy.stats import binomtest, norm  # type: ignore[import-untyped]

from core.tables.statistics import lower_end, means, sample, swap_chance
from core.tables.task import Predictions


def _said(share_right: float, rows: int = 400, seed: int = 0) -> Predictions:
    return {"accuracy": (np.random.default_rng(seed).random(rows) < share_right).astype(float)}


def test_the_interval_is_scipys() -> None:
    said = _said(0.8)
    ours = sample({"m": said}, means, resamples=4000, seed=1)["m"].interval("accuracy")
    theirs = stats.bootstrap(
        (said["accuracy"],), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert ours.value == said["accuracy"].mean()
    assert ours.low == pytest.approx(theirs.low, abs=0.005)
    assert ours.high == pytest.approx(theirs.high, abs=0.005)


def test_a_paired_difference_is_narrower_than_two_models_apart() -> None:
    """Two models that differ on 12 rows of 400: the rows that they share must not widen the difference."""
    first = _said(0.8)
    second = {"accuracy": first["accuracy"].copy()}
    second["accuracy"][:12] = 1 - second["accuracy"][:12]
    sampled = sample({"a": first, "b": second}, means, resamples=2000, seed=1)
    paired = sampled["a"].difference(sampled["b"], "accuracy")
    theirs = stats.bootstrap(
        (first["accuracy"] - second["accuracy"],),
        np.mean,
        n_resamples=4000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert paired.low == pytest.approx(theirs.low, abs=0.004)
    assert paired.high == pytest.approx(theirs.high, abs=0.004)
    alone = sampled["a"].interval("accuracy")
    assert paired.high - paired.low < 0.6 * (alone.high - alone.low)


def test_a_model_is_no_better_than_itself() -> None:
    sampled = sample({"a": _said(0.7), "b": _said(0.7)}, means, resamples=200, seed=1)
    difference = sampled["a"].difference(sampled["b"], "accuracy")
    assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)


def test_the_one_sided_end_knows_which_way_is_better() -> None:
    sampled = sample({"good": _said(0.9), "bad": _said(0.5, seed=5)}, means, resamples=500, seed=1)
    good, bad = sampled["good"], sampled["bad"]
    better = good.better_by(bad, "accuracy", confidence=0.95, more_is_better=True)
    worse = good.better_by(bad, "accuracy", confidence=0.95, more_is_better=False)
    assert 0.3 < better.low < better.value < better.high
    assert (worse.low, worse.value, worse.high) == pytest.approx((-better.high, -better.value, -better.low))
    two_sided = good.difference(bad, "accuracy").low
    one_sided = good.better_by(bad, "accuracy", confidence=0.975, more_is_better=True)
    assert one_sided.low == pytest.approx(two_sided)


def test_a_tail_that_the_draws_do_not_reach_is_the_normal_one() -> None:
    draws = np.random.default_rng(3).normal(0.2, 0.05, 2000)
    for confidence in (0.9, 0.99, 0.999, 0.99999):
        assert lower_end(draws, 0.2, confidence) == pytest.approx(norm(0.2, 0.05).ppf(1 - confidence), abs=0.012)


def test_the_swap_test_is_mcnemar_s_exact_test() -> None:
    """Rows on which both are right or both wrong say nothing; of the others it is a coin's fall."""
    mine, theirs = np.ones(60), np.ones(60)
    theirs[:12], mine[12:15] = 0, 0  # 12 rows for the model, 3 for the other
    found = swap_chance(
        {"accuracy": mine}, {"accuracy": theirs}, means, draws=20_000, seed=5, metric="accuracy", more_is_better=True
    )
    assert found == pytest.approx(binomtest(12, 15, alternative="greater").pvalue, abs=0.003)


def test_models_that_answer_alike_may_as_well_be_swapped() -> None:
    said = {"accuracy": np.ones(20)}
    chance = swap_chance(said, said, means, draws=50, seed=1, metric="accuracy", more_is_better=True)
    assert chance == 1.0


def test_equal_seeds_give_equal_intervals() -> None:
    first, again, other = (
        sample({"m": _said(0.8)}, means, resamples=200, seed=seed)["m"].draws["accuracy"] for seed in (1, 1, 2)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_no_rows_are_no_interval() -> None:
    with pytest.raises(ValueError, match="no rows"):
        sample({"m": {"accuracy": np.array([])}}, means, resamples=10, seed=1)
