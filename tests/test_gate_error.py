"""How often the gate errs, counted on a few drawn comparisons; `python -m bench gate` counts thousands."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from bench.gate import BETTER, NO_WORSE, RIGHT, ROWS, compare, drawn_model, power

pytestmark = pytest.mark.slow

TRIALS = 60


def test_equally_good_models_are_seldom_promoted(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    passed = 0
    for _ in range(TRIALS):
        good, bad, coin = drawn_model(draw, RIGHT), drawn_model(draw, RIGHT - 0.08), draw.random(ROWS) < 0.5
        passed += compare(np.where(coin, good, bad), np.where(coin, bad, good), BETTER, tmp_path).passed
    assert passed <= 3  # 5 % of 60


def test_a_planted_drop_is_caught_and_a_small_one_promotes_nothing(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)
    for drop, least in ((0.10, 0.8), (0.02, 0.0)):
        seen: Counter[str] = Counter()
        for _ in range(TRIALS // 2):
            hard = draw.random(ROWS)
            seen[
                compare(
                    drawn_model(draw, RIGHT - drop, hard), drawn_model(draw, RIGHT, hard), NO_WORSE, tmp_path
                ).outcome
            ] += 1
        assert seen["failed"] >= least * seen.total(), seen
        assert seen["passed"] == 0, seen


def test_the_power_of_a_comparison_is_that_of_paired_shares() -> None:
    """Against drawn differences: n rows, each +1, -1 or 0."""
    draw, rows, drop, disagree = np.random.default_rng(3), 200, 0.10, 0.16
    shares = [(disagree - drop) / 2, (disagree + drop) / 2, 1 - disagree]
    means = draw.choice([1.0, -1.0, 0.0], size=(20_000, rows), p=shares).mean(axis=1)
    caught = means + 1.6449 * np.sqrt((disagree - drop**2) / rows) < 0
    assert power(drop, rows=rows, disagree=disagree, confidence=0.95) == pytest.approx(caught.mean(), abs=0.02)
