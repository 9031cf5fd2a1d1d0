"""Evidence + the bounds of a recipe's `gates:` -> a verdict with a reason a gate. Pure; what is unknown fails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.schema.evaluation import Gate

AGAINST_BASELINE = "against_baseline"
AGAINST_CHAMPION = "against_champion"
CONFIDENCE = 0.95  # of a paired gate that does not say
LEAST_COMMON = 0.5  # share of the test rows that champion and candidate must both have answered


@dataclass(frozen=True)
class Paired:
    """How much better the candidate is than another model on the same rows, by the primary metric.

    better_by: the difference, signed so that above 0 the candidate is the better one, whatever the metric.
    lower: lower end of its one-sided interval. common: share of the candidate's test rows it was computed on.
    """

    other: str
    metric: str
    better_by: float
    lower: float
    common: float = 1.0


@dataclass(frozen=True)
class NoRival:
    """Why there is nothing to compare with, and whether that is in order (no champion yet) or not."""

    why: str
    in_order: bool


@dataclass(frozen=True)
class Evidence:
    """What is known about a candidate. baseline: against the best one."""

    metrics: Mapping[str, float]
    baseline: Paired | NoRival
    champion: Paired | NoRival


@dataclass(frozen=True)
class Reason:
    """One gate's line. value: what was compared with the bound; None when there was nothing."""

    gate: str
    value: float | None
    bound: str
    passed: bool
    why: str

    def __str__(self) -> str:
        value = "no value" if self.value is None else f"{self.value:.4f}"
        return f"{'passed' if self.passed else 'FAILED'}  {self.gate}: {value}, bound {self.bound} ({self.why})"


@dataclass(frozen=True)
class Verdict:
    passed: bool
    reasons: Sequence[Reason]

    def as_json(self) -> dict[str, Any]:
        """The verdict as a receipt holds it."""
        return {"passed": self.passed, "reasons": [asdict(reason) for reason in self.reasons]}


def judge(gates: Mapping[str, Gate], evidence: Evidence) -> Verdict:
    """Every gate of the recipe against the evidence. Without gates everything passes.

    A value that is missing or not finite never passes.
    """
    reasons = [_judge_one(name, gate, evidence) for name, gate in sorted(gates.items())]
    return Verdict(all(reason.passed for reason in reasons), reasons)


def _judge_one(name: str, gate: Gate, evidence: Evidence) -> Reason:
    if name == AGAINST_BASELINE:
        return _judge_paired(name, gate, evidence.baseline)
    if name == AGAINST_CHAMPION:
        return _judge_paired(name, gate, evidence.champion)
    if name not in evidence.metrics:
        known = ", ".join(sorted(evidence.metrics)) or "none"
        return Reason(name, None, _bound(gate), False, f"the evaluation has no such metric; it has {known}")
    return _within(name, gate, evidence.metrics[name], "on the test split")


def _judge_paired(name: str, gate: Gate, rival: Paired | NoRival) -> Reason:
    if isinstance(rival, NoRival):
        return Reason(name, None, _bound(gate), rival.in_order, rival.why)
    if not rival.common >= LEAST_COMMON:
        why = (
            f"{rival.other} answered only {rival.common:.0%} of these test rows, {LEAST_COMMON:.0%} are needed. "
            "Put the data or its split back, or promote by hand: `headrace promote`"
        )
        return Reason(name, None, _bound(gate), False, why)
    level = CONFIDENCE if gate.confidence is None else gate.confidence
    sign = "worse" if rival.better_by < 0 else "better"
    why = f"{rival.metric} {sign} than {rival.other} by {abs(rival.better_by):.4f}; lower end at {level:g} confidence"
    return _within(name, gate, rival.lower, why if rival.common == 1 else f"{why}, on {rival.common:.0%} of the rows")


def _within(name: str, gate: Gate, value: float, why: str) -> Reason:
    if not math.isfinite(value):
        return Reason(name, None, _bound(gate), False, f"{why}: the value is {value}")
    above = gate.at_least is None or value >= gate.at_least
    below = gate.at_most is None or value <= gate.at_most
    return Reason(name, value, _bound(gate), above and below, why)


def _bound(gate: Gate) -> str:
    parts = [("at least", gate.at_least), ("at most", gate.at_most)]
    return " and ".join(f"{word} {value:g}" for word, value in parts if value is not None)
