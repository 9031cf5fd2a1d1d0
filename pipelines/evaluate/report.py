"""What an evaluation found, as metrics.json, report.json and report.md. Pure.

A baseline that the model does not beat is said in the first lines, not below them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.tables.spelling import cell, code
from core.tables.statistics import CONFIDENCE, Interval, Sampled
from pipelines.evidence.by_label import OfLabel
from registry.promotion.card import label_lines, preferred, table
from registry.promotion.measured import REPORT


@dataclass(frozen=True)
class Findings:
    """better: metric -> True when more is better. slices: column -> value -> (rows, the model's metrics on them).

    labels: of the model, where its answers are labels. of_one_label: a column that holds the true label -> the metrics
    that mean something on the rows of one; of the rows of other columns' values all do.
    """

    rows: int
    primary: str
    better: Mapping[str, bool]
    model: Sampled
    baselines: Mapping[str, Sampled]
    slices: Mapping[str, Mapping[str, tuple[int, Sampled]]]
    resamples: int
    seed: int
    simple: Sequence[str] = ()  # baselines that can be the model
    labels: Sequence[OfLabel] = ()
    of_one_label: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """metrics.json: the model's metrics as numbers, so that `dvc metrics show` has few columns."""
        return {name: self.model.values[name] for name in self.better if math.isfinite(self.model.values[name])}

    def measured(self) -> dict[str, Any]:
        """What report.json has of the model, the baselines, the differences, the slices and the labels."""
        return {
            "model": self._all(self.model, self.better),
            "baselines": {name: self._all(each, self.better) for name, each in self.baselines.items()},
            "differences": {name: self.ahead(name).as_json() for name in self.baselines},
            "slices": {
                column: {
                    value: {"rows": rows, **self._all(each, self.of_slice(column))}
                    for value, (rows, each) in values.items()
                }
                for column, values in self.slices.items()
            },
            "labels": {each.label: each.as_json() for each in self.labels},
        }

    def of_slice(self, column: str) -> Sequence[str]:
        """The metrics that mean something on the rows of one value of a column."""
        return self.of_one_label.get(column, list(self.better))

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

    @staticmethod
    def _all(sampled: Sampled, metrics: Iterable[str]) -> dict[str, dict[str, float | None]]:
        return {metric: sampled.interval(metric).as_json() for metric in metrics}


def summary(findings: Findings) -> dict[str, Any]:
    """report.json: the verdict on the baselines, everything with its interval, and how the numbers were made."""
    best = findings.best_baseline() if findings.baselines else None
    return {
        "rows": findings.rows,
        "primary": findings.primary,
        "first_lines": findings.first_lines(),
        "best_baseline": best,
        "trivial_baseline": next(iter(findings.baselines), None),
        "beaten_by": findings.beaten_by(),
        "not_surely_ahead_of": findings.not_beaten(),
        **findings.measured(),
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
    rows = []
    for metric, more in findings.better.items():
        intervals = [each.interval(metric) for each in (findings.model, *findings.baselines.values())]
        rows.append([f"{metric} ({'more' if more else 'less'} is better)", *map(_shown, intervals)])
    lines = [
        f"# {name}: {findings.rows:,} test rows",
        "",
        *(f"**{line}**" for line in findings.first_lines()),
        "",
        *table(["metric", "model", *findings.baselines], rows),
        "",
        f"In brackets: {CONFIDENCE:.0%} bootstrap intervals, {findings.resamples:,} resamples of the test rows.",
        *label_lines({each.label: each.as_json() for each in findings.labels}, where=REPORT),
    ]
    for column in findings.slices:
        lines += _slice_lines(findings, column)
    return "\n".join(lines) + "\n"


def _slice_lines(findings: Findings, column: str) -> list[str]:
    metrics = findings.of_slice(column)
    rows = [
        [cell(value), f"{count:,}", *(_shown(each.interval(metric)) for metric in metrics)]
        for value, (count, each) in findings.slices[column].items()
    ]
    return ["", f"## Slices by {code(column)}", "", *table([cell(column), "rows", *metrics], rows)]


def _shown(interval: Interval, sign: str = "") -> str:
    return f"{interval.value:{sign}.4f} [{interval.low:{sign}.4f}, {interval.high:{sign}.4f}]"
