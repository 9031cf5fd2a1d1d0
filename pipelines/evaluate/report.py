"""What an evaluation found, as metrics.json, report.json and report.md. Pure.

A baseline that the model does not beat is said in the first lines, not below them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.tables.statistics import CONFIDENCE, Interval, Sampled
from registry.promotion.card import preferred


@dataclass(frozen=True)
class Findings:
    """better: metric -> True when more is better. slices: column -> value -> (rows, the model's metrics on them)."""

    rows: int
    primary: str
    better: Mapping[str, bool]
    model: Sampled
    baselines: Mapping[str, Sampled]
    slices: Mapping[str, Mapping[str, tuple[int, Sampled]]]
    resamples: int
    seed: int
    simple: Sequence[str] = ()  # baselines that can be the model

    def metrics(self) -> dict[str, Any]:
        """metrics.json: the model's metrics at the top, the rest below keys of its own."""
        return {
            **self._all(self.model),
            "baselines": {name: self._all(each) for name, each in self.baselines.items()},
            "differences": {name: {self.primary: asdict(self.ahead(name))} for name in self.baselines},
            "slices": {
                column: {value: {"rows": rows, **self._all(each)} for value, (rows, each) in values.items()}
                for column, values in self.slices.items()
            },
        }

    def ahead(self, baseline: str) -> Interval:
        """The model's primary metric minus the baseline's."""
        return self.model.difference(self.baselines[baseline], self.primary)

    def best_baseline(self) -> str:
        sign = 1 if self.better[self.primary] else -1
        return max(self.baselines, key=lambda name: sign * self.baselines[name].values[self.primary])

    def beaten_by(self) -> list[str]:
        """Baselines that score better than the model."""
        sign = 1 if self.better[self.primary] else -1
        return [name for name in self.baselines if sign * self.ahead(name).value < 0]

    def not_beaten(self) -> list[str]:
        """Baselines that the model is not surely ahead of: the interval of the difference holds 0."""
        return [name for name in self.baselines if self.ahead(name).low <= 0 <= self.ahead(name).high]

    def first_lines(self) -> list[str]:
        """The verdict on the baselines, the worst news first."""
        lines = []
        for name in sorted(self.beaten_by(), key=lambda name: name != self.best_baseline()):
            sure = "" if name in self.not_beaten() else ", and surely so"
            lines.append(f"A baseline wins: {name} has {self._compared(name)}{sure}. {preferred(name, self.simple)}")
        for name in sorted(set(self.not_beaten()) - set(self.beaten_by())):
            lines.append(f"Not surely better than a baseline: {name} has {self._compared(name)}.")
        if lines or not self.baselines:
            return lines or [
                f"{self.primary} {_shown(self.model.interval(self.primary))}; no baseline to compare with."
            ]
        best = self.best_baseline()
        return [f"Better than every baseline; the best of them, {best}, has {self._compared(best)}."]

    def _compared(self, name: str) -> str:
        theirs, own = self.baselines[name].values[self.primary], self.model.values[self.primary]
        return f"{self.primary} {theirs:.4f}, this model {own:.4f}, difference {_shown(self.ahead(name), sign='+')}"

    def _all(self, sampled: Sampled) -> dict[str, dict[str, float]]:
        return {metric: asdict(sampled.interval(metric)) for metric in self.better}


def summary(findings: Findings) -> dict[str, Any]:
    """report.json: the verdict on the baselines, and how the numbers were made."""
    best = findings.best_baseline() if findings.baselines else None
    return {
        "rows": findings.rows,
        "primary": findings.primary,
        "first_lines": findings.first_lines(),
        "best_baseline": best,
        "beaten_by": findings.beaten_by(),
        "not_surely_ahead_of": findings.not_beaten(),
        "differences": {name: asdict(findings.ahead(name)) for name in findings.baselines},
        "better": {metric: "more" if more else "less" for metric, more in findings.better.items()},
        "intervals": {
            "kind": "percentile bootstrap over test rows; differences on the same resamples",
            "confidence": CONFIDENCE,
            "resamples": findings.resamples,
            "seed": findings.seed,
        },
    }


def markdown(findings: Findings, name: str) -> str:
    """report.md."""
    lines = [f"# {name}: {findings.rows:,} test rows", "", *(f"**{line}**" for line in findings.first_lines()), ""]
    lines += [
        "| metric | model | " + " | ".join(findings.baselines) + " |",
        "|---" * (2 + len(findings.baselines)) + "|",
    ]
    for metric, more in findings.better.items():
        cells = [each.interval(metric) for each in (findings.model, *findings.baselines.values())]
        arrow = "more is better" if more else "less is better"
        lines.append(f"| {metric} ({arrow}) | " + " | ".join(map(_shown, cells)) + " |")
    lines += [
        "",
        f"In brackets: {CONFIDENCE:.0%} bootstrap intervals, {findings.resamples:,} resamples of the test rows.",
    ]
    for column, values in findings.slices.items():
        lines += ["", f"## By {column}", "", f"| {column} | rows | {' | '.join(findings.better)} |"]
        lines.append("|---" * (2 + len(findings.better)) + "|")
        for value, (rows, each) in values.items():
            cells = [each.interval(metric) for metric in findings.better]
            lines.append(f"| {value} | {rows:,} | " + " | ".join(map(_shown, cells)) + " |")
    return "\n".join(lines) + "\n"


def _shown(interval: Interval, sign: str = "") -> str:
    return f"{interval.value:{sign}.4f} [{interval.low:{sign}.4f}, {interval.high:{sign}.4f}]"
