"""Evidence + the bounds of a recipe's `gates:` -> a verdict with a reason a gate. Pure; what is unknown fails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from typing import Any, Literal

from core.schema.evaluation import Gate
from core.tables.keys import name_among
from core.tables.spelling import spelled

AGAINST_BASELINE = "against_baseline"
AGAINST_CHAMPION = "against_champion"
AGAINST_LIVE = "against_live"  # of an index: the release that is searched now
SERVED = "served"  # the packed model's answers, in a process of its own
CONFIDENCE = 0.95  # of a paired gate that does not say
LEAST_COMMON = 0.5  # share of the test rows that champion and candidate must both have answered
_NEAREST = 3
_LONGEST = 200  # characters of a gate's name in a reason
_MANY_TIMES = 100  # narrower an interval would have to be: so many rows nobody brings
LEAST_ROWS = 30  # fewer say nothing about a difference, however it turns out

Outcome = Literal["passed", "failed", "undecided", "tie", "no evidence"]


@dataclass(frozen=True)
class Paired:
    """How much better the candidate is than another model on the same rows, by the primary metric.

    better_by: the difference, signed so that above 0 the candidate is the better one, whatever the metric.
    lower, upper: ends of its one-sided intervals at `confidence`. chance: how probable a difference as large is when
    the two models are equally good (swap test). rows: how many both answered; common: their share of the candidate's.
    asked: the how many-th comparison on these test rows this is, which `confidence` is corrected for.
    """

    other: str
    metric: str
    better_by: float
    lower: float
    upper: float = math.inf
    chance: float = 0.0
    confidence: float = CONFIDENCE
    rows: int = LEAST_ROWS
    common: float = 1.0
    asked: int = 1


@dataclass(frozen=True)
class NoRival:
    """Why there is nothing to compare with, and whether that is in order (no champion yet) or not."""

    why: str
    in_order: bool


@dataclass(frozen=True)
class Evidence:
    """What is known about a candidate. rivals: of each paired gate, by its name. asked: what it was measured on."""

    metrics: Mapping[str, float]
    rivals: Mapping[str, Paired | NoRival]
    asked: str = "on the test split"


@dataclass(frozen=True)
class Reason:
    """One gate's line. value: what was compared with the bound; None when there was nothing."""

    gate: str
    value: float | None
    bound: str
    outcome: Outcome
    why: str

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"

    def __str__(self) -> str:
        return f"{'passed' if self.passed else self.outcome.upper()}  {reason_line(asdict(self))}"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def reason_line(reason: Mapping[str, Any]) -> str:
    """A reason as a receipt holds it, in words."""
    return f"{spelled(reason['gate'], _LONGEST)}: {shown(reason['value'])}, bound {reason['bound']} ({reason['why']})"


def shown(value: float | None) -> str:
    """Four decimals, wherever a person reads a metric."""
    return "no value" if value is None else f"{value:.4f}"


@dataclass(frozen=True)
class Verdict:
    passed: bool
    reasons: Sequence[Reason]

    @classmethod
    def refused(cls, gate: str, why: str) -> Verdict:
        """Nothing can be judged: there is no evidence, or it is not what it says."""
        return cls(False, [Reason(gate, None, "sound", "no evidence", why)])

    def as_json(self) -> dict[str, Any]:
        """The verdict as a receipt holds it."""
        return {"passed": self.passed, "reasons": [reason.as_json() for reason in self.reasons]}


def corrected(confidence: float, asked: int) -> float:
    """The confidence of the `asked`-th comparison on one test set, so that all of them together err no more often.

    The k-th may be wrong with (1 - confidence) / (k (k + 1)): these shares add up to 1 - confidence, however many
    follow (online Bonferroni, or alpha spending: Foster & Stine 2008, J. R. Statist. Soc. B 70, section 2).
    Raises ValueError for asked < 1.
    """
    if asked < 1:
        raise ValueError(f"comparisons are counted from 1, got {asked}")
    return 1 - (1 - confidence) / (asked * (asked + 1))


def judge(gates: Mapping[str, Gate], evidence: Evidence) -> Verdict:
    """Every gate of the recipe against the evidence. Without gates everything passes.

    A value that is missing or not finite never passes, nor do two models that answer alike.
    """
    reasons = [_judge_one(name, gate, evidence) for name, gate in sorted(gates.items())]
    return Verdict(all(reason.passed for reason in reasons), reasons)


def with_trial(verdict: Verdict, differs: str | None) -> Verdict:
    """The verdict, with the reason that refuses when what would be served answers other than what was evaluated."""
    if differs is None:
        return verdict
    reason = Reason(SERVED, None, "equal to the evaluation", "failed", differs)
    return Verdict(False, [*verdict.reasons, reason])


def _judge_one(name: str, gate: Gate, evidence: Evidence) -> Reason:
    if name in evidence.rivals:
        return _judge_paired(name, gate, evidence.rivals[name])
    if (measured := _of_the_same_value(name, evidence.metrics)) is not None:
        return _within(name, gate, evidence.metrics[measured], evidence.asked)
    if name not in evidence.metrics:
        why = f"the evaluation has no such metric; it has {_known(name, evidence.metrics)}"
        return Reason(name, None, _bound(gate), "no evidence", why)
    return _within(name, gate, evidence.metrics[name], evidence.asked)


def _of_the_same_value(gate: str, metrics: Mapping[str, float]) -> str | None:
    """The metric METRIC[COLUMN=VALUE] that a gate means which spells the value as its source did, or as before."""
    head, equals, value = gate.partition("=")
    if not equals or gate in metrics:
        return None
    values = {other[len(head) + 1 : -1]: other for other in metrics if other.startswith(f"{head}=")}
    return values.get(name_among(value.removesuffix("]"), values))


def _known(name: str, metrics: Mapping[str, float]) -> str:
    """What a gate could have named: the metrics, and of slices and labels, which may be thousands, the nearest."""
    whole = sorted(each for each in metrics if "[" not in each)
    parts = metrics.keys() - set(whole)
    nearest = get_close_matches(name, parts, n=_NEAREST) if "[" in name else []
    left = len(parts) - len(nearest)
    more = f" and {left:,} of slices and labels" if left else ""
    return f"{', '.join([*whole, *map(spelled, nearest)]) or 'none'}{more}"


def _judge_paired(name: str, gate: Gate, rival: Paired | NoRival) -> Reason:
    if isinstance(rival, NoRival):
        return Reason(name, None, _bound(gate), "passed" if rival.in_order else "no evidence", rival.why)
    if not rival.common >= LEAST_COMMON:
        why = (
            f"{rival.other} answered only {rival.common:.0%} of these test rows, {LEAST_COMMON:.0%} are needed. "
            "Put the data or its split back, or promote by hand: `headrace promote`"
        )
        return Reason(name, None, _bound(gate), "no evidence", why)
    if not all(map(math.isfinite, (rival.lower, rival.better_by))):
        value = rival.better_by if math.isfinite(rival.lower) else rival.lower
        return Reason(name, None, _bound(gate), "no evidence", f"the difference to {rival.other} is {value}")
    outcome, why = _decide(gate, rival)
    return Reason(name, rival.lower, _bound(gate), outcome, f"{why}; {_measured(rival)}")


def _decide(gate: Gate, rival: Paired) -> tuple[Outcome, str]:
    """What the interval says about the bound. A paired gate's only bound is at_least."""
    bound = 0.0 if gate.at_least is None else gate.at_least
    if rival.rows < LEAST_ROWS:
        return "undecided", f"{rival.rows} rows are too few to decide, {LEAST_ROWS} are needed"
    if rival.better_by == rival.lower == rival.upper == 0:
        return "tie", f"it answers as {rival.other} does, by {rival.metric}"
    if rival.upper < bound:
        return "failed", f"worse than the bound allows against {rival.other}"
    if rival.lower < bound or (bound >= 0 and rival.lower <= 0):
        return "undecided", f"these rows do not show it{_rows_that_would(rival, bound)}"
    if bound >= 0 and rival.chance > 1 - rival.confidence:
        return "undecided", f"models that are equally good differ so much with a chance of {rival.chance:.2g}"
    return "passed", "shown"


def _rows_that_would(rival: Paired, bound: float) -> str:
    """How many rows would show a difference that stays as it is: an interval narrows with the root of their number."""
    beyond = rival.better_by - bound
    times = (rival.better_by - rival.lower) / beyond if beyond > 0 else math.inf
    if not times < _MANY_TIMES:
        return ""
    rows = rival.rows * times * times
    return f": it would take about {float(f'{rows:.2g}'):,.0f} instead of {rival.rows:,}, if the difference stays"


def _measured(rival: Paired) -> str:
    sign = "worse" if rival.better_by < 0 else "better"
    asked = f", comparison {rival.asked} on these rows" if rival.asked > 1 else ""
    part = "" if rival.common == 1 else f", on {rival.common:.0%} of the rows"
    return (
        f"{rival.metric} {sign} than {rival.other} by {abs(rival.better_by):.4f}; "
        f"lower end at {rival.confidence:.6g} confidence{asked}{part}"
    )


def _within(name: str, gate: Gate, value: float, why: str) -> Reason:
    if not math.isfinite(value):
        return Reason(name, None, _bound(gate), "no evidence", f"{why}: the value is {value}")
    above = gate.at_least is None or value >= gate.at_least
    below = gate.at_most is None or value <= gate.at_most
    return Reason(name, value, _bound(gate), "passed" if above and below else "failed", why)


def _bound(gate: Gate) -> str:
    parts = [("at least", gate.at_least), ("at most", gate.at_most)]
    return " and ".join(f"{word} {value:g}" for word, value in parts if value is not None)
