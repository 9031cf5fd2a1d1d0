"""Gates: what is known and good enough passes; what is missing, not a number or too little never does."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.schema.evaluation import Gate
from registry.promotion.gate import AGAINST_BASELINE, AGAINST_CHAMPION, Evidence, NoRival, Paired, corrected, judge

NOBODY = NoRival("no champion yet", in_order=True)
BETTER = Paired("tfidf", "accuracy", better_by=0.05, lower=0.02)
NOT_FINITE = st.sampled_from([math.nan, math.inf, -math.inf])
NUMBERS = st.floats(-1e6, 1e6)
BOUNDS = st.tuples(NUMBERS, st.none() | st.floats(0, 1e6), st.booleans())


@st.composite
def gates(draw: st.DrawFn) -> Gate:
    """Gates with one bound, the other, or both."""
    bound, width, upper = draw(BOUNDS)
    if width is not None:
        return Gate(at_least=bound, at_most=bound + width)
    return Gate(at_most=bound) if upper else Gate(at_least=bound)


def evidence(
    *,
    metrics: dict[str, float] | None = None,
    baseline: Paired | NoRival = BETTER,
    champion: Paired | NoRival = NOBODY,
) -> Evidence:
    rivals = {AGAINST_BASELINE: baseline, AGAINST_CHAMPION: champion}
    return Evidence({"accuracy": 0.83} if metrics is None else metrics, rivals)


def test_no_gates_gate_nothing() -> None:
    verdict = judge({}, evidence(metrics={}))
    assert verdict.passed
    assert list(verdict.reasons) == []


@pytest.mark.parametrize(
    ("gate", "value", "passed"),
    [
        (Gate(at_least=0.8), 0.8, True),
        (Gate(at_least=0.8), 0.7999, False),
        (Gate(at_most=0.5), 0.5, True),
        (Gate(at_most=0.5), 0.51, False),
        (Gate(at_least=0.1, at_most=0.5), 0.6, False),
    ],
)
def test_a_metric_gate_compares_the_value_with_its_bounds(gate: Gate, value: float, passed: bool) -> None:
    verdict = judge({"accuracy": gate}, evidence(metrics={"accuracy": value}))
    assert verdict.passed is passed


def test_one_failing_gate_of_two_fails_and_every_gate_has_its_line() -> None:
    verdict = judge({"accuracy": Gate(at_least=0.8), AGAINST_BASELINE: Gate(at_least=0.03, confidence=0.9)}, evidence())
    assert not verdict.passed
    assert [(reason.gate, reason.passed) for reason in verdict.reasons] == [
        ("accuracy", True),
        (AGAINST_BASELINE, False),
    ]
    assert "bound at least 0.03" in str(verdict.reasons[1])
    assert "better than tfidf by 0.0500" in str(verdict.reasons[1])
    assert "0.95 confidence" in str(verdict.reasons[1])
    assert verdict.reasons[1].outcome == "undecided"  # its interval holds the bound
    assert verdict.as_json()["reasons"][1]["value"] == 0.02


def test_a_metric_that_the_evaluation_lacks_is_refused_by_name() -> None:
    [reason] = judge({"f1": Gate(at_least=0.0)}, evidence()).reasons
    assert not reason.passed
    assert "it has accuracy" in reason.why


def test_without_a_champion_the_gate_passes_and_says_so() -> None:
    [reason] = judge({AGAINST_CHAMPION: Gate(at_least=0.0)}, evidence()).reasons
    assert reason.passed
    assert "no champion yet" in str(reason)


def test_without_a_baseline_the_gate_refuses() -> None:
    missing = NoRival("the evaluation has no baseline", in_order=False)
    verdict = judge({AGAINST_BASELINE: Gate(at_least=-1.0)}, evidence(baseline=missing))
    assert not verdict.passed


def test_too_few_common_rows_are_refused_with_what_to_do() -> None:
    rival = Paired("films/3", "accuracy", better_by=0.3, lower=0.2, common=0.49)
    [reason] = judge({AGAINST_CHAMPION: Gate(at_least=0.0)}, evidence(champion=rival)).reasons
    assert not reason.passed
    assert "49%" in reason.why
    assert "headrace promote" in reason.why


def test_half_of_the_rows_is_enough_and_is_told() -> None:
    rival = Paired("films/3", "accuracy", better_by=0.3, lower=0.2, common=0.5)
    [reason] = judge({AGAINST_CHAMPION: Gate(at_least=0.0)}, evidence(champion=rival)).reasons
    assert reason.passed
    assert "50%" in reason.why


@given(gate=gates(), value=NOT_FINITE)
def test_what_is_not_finite_never_passes(gate: Gate, value: float) -> None:
    assert not judge({"accuracy": gate}, evidence(metrics={"accuracy": value})).passed
    rival = Paired("other", "accuracy", better_by=1.0, lower=value)
    assert not judge({AGAINST_BASELINE: gate}, evidence(baseline=rival)).passed
    assert not judge({AGAINST_CHAMPION: gate}, evidence(champion=rival)).passed


@given(gate=gates(), common=NOT_FINITE.filter(lambda share: share != math.inf) | st.floats(-1, 0.4999))
def test_an_unknown_or_small_overlap_never_passes(gate: Gate, common: float) -> None:
    rival = Paired("other", "accuracy", better_by=1.0, lower=1.0, common=common)
    assert not judge({AGAINST_CHAMPION: gate}, evidence(champion=rival)).passed


@given(gate=gates(), names=st.sets(st.text(max_size=8).filter(lambda name: name != "accuracy"), max_size=3))
def test_a_gate_without_evidence_refuses(gate: Gate, names: set[str]) -> None:
    assert not judge({"accuracy": gate}, evidence(metrics=dict.fromkeys(names, 1.0))).passed
    nothing = NoRival("there is none", in_order=False)
    assert not judge({AGAINST_BASELINE: gate}, evidence(baseline=nothing)).passed


@given(bound=NUMBERS, lower=NUMBERS)
def test_a_paired_gate_passes_exactly_from_its_bound_on(bound: float, lower: float) -> None:
    """Below 0 the bound itself will do; from 0 on the candidate must be better."""
    rival = Paired("other", "accuracy", better_by=lower + 1, lower=lower)
    passes = lower >= bound and (bound < 0 or lower > 0)
    assert judge({AGAINST_BASELINE: Gate(at_least=bound)}, evidence(baseline=rival)).passed is passes


BETTER_THAN_CHAMPION = Paired("films/3", "accuracy", better_by=0.05, lower=0.02, upper=0.08, chance=0.001, rows=200)


@pytest.mark.parametrize(
    ("bound", "change", "outcome", "word"),
    [
        (0.0, {}, "passed", "shown"),
        (0.0, {"rows": 29}, "undecided", "29 rows are too few"),
        (-0.5, {"rows": 29}, "undecided", "29 rows are too few"),
        (0.0, {"better_by": 0.0, "lower": 0.0, "upper": 0.0}, "tie", "answers as films/3 does"),
        (-0.01, {"better_by": 0.0, "lower": 0.0, "upper": 0.0}, "tie", "answers as films/3 does"),
        (0.0, {"lower": 0.0}, "undecided", "do not show it"),
        (0.0, {"better_by": 0.01, "lower": -0.01}, "undecided", "it would take about 800 instead of 200, if"),
        (-0.005, {"better_by": -0.02, "lower": -0.06, "upper": 0.02}, "undecided", "do not show it"),
        (-0.005, {"better_by": -0.1, "lower": -0.14, "upper": -0.06}, "failed", "worse than the bound allows"),
        (0.0, {"chance": 0.06}, "undecided", "a chance of 0.06"),
        (-0.005, {"chance": 0.9, "lower": -0.004}, "passed", "shown"),  # no worse is not better
        (0.0, {"chance": 0.01, "confidence": 0.999}, "undecided", "a chance of 0.01"),
    ],
)
def test_each_outcome_of_a_comparison_is_stated(
    bound: float, change: dict[str, float], outcome: str, word: str
) -> None:
    rival = replace(BETTER_THAN_CHAMPION, **change)  # type: ignore[arg-type]
    [reason] = judge({AGAINST_CHAMPION: Gate(at_least=bound)}, evidence(champion=rival)).reasons
    assert (reason.outcome, reason.passed) == (outcome, outcome == "passed")
    assert word in reason.why


def test_all_comparisons_on_one_test_set_together_err_no_more_often_than_one() -> None:
    shares = [1 - corrected(0.95, asked) for asked in range(1, 5001)]
    assert shares[0] == pytest.approx(0.025)
    assert all(earlier > later > 0 for earlier, later in itertools.pairwise(shares))
    assert 0.0499 < sum(shares) <= 0.05
    with pytest.raises(ValueError, match="counted from 1"):
        corrected(0.95, 0)
