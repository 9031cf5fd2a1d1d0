"""A forest plot of two versions: each difference with its interval beside the line of no difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.tables.statistics import CONFIDENCE, Interval
from pipelines.evidence.by_label import LabelDifference
from pipelines.evidence.differences import Apart, MetricDifference, Says, says
from pipelines.tasks.parts.plots import MOST, drawn

# Colours that people who are blind to red and green can tell apart; words say the same.
_COLOURS: dict[Says, str] = {"better": "#0072b2", "worse": "#d55e00", "undecided": "#555555", "equal": "#555555"}
_WIDTH, _OF_METRIC, _OF_LABEL, _AROUND = 9.0, 0.85, 0.3, 1.0  # inches
_FIGURE = "f1"  # of a label


def forest(found: Apart, first: str, second: str, path: Path, *, of: str = "test rows") -> None:
    """Write it as PNG. Each metric has a scale of its own, the labels one for all.

    first, second: what the versions are called. of: what both answered.
    """
    labels = _drawable(found.labels)
    heights = [_OF_METRIC] * len(found.metrics) + ([_AROUND + _OF_LABEL * len(labels)] if labels else [])
    texts = [first, second, *(each.label for each in labels)]
    with drawn(path, _WIDTH, _AROUND + sum(heights), texts=texts, panels=heights) as (panels, [one, two, *names]):
        for axes, metric in zip(panels, found.metrics, strict=False):
            _panel(axes, [_metric_name(metric)], [metric.difference], [metric.more_is_better])
        if labels:
            marks = [f"{name} ({each.support:,})" for name, each in zip(names, labels, strict=True)]
            differences = [each.figures[_FIGURE][2] for each in labels]
            _panel(panels[-1], marks, differences, [True] * len(labels))
            panels[-1].set_title(_labels_title(labels, found.labels), fontsize="medium", loc="left")
        panels[0].figure.suptitle(f"{two} minus {one}: {found.rows:,} {of}, {CONFIDENCE:.0%} intervals")


def _panel(axes: Any, names: Sequence[str], differences: Sequence[Interval], better: Sequence[bool]) -> None:
    """A line a difference, the first on top."""
    axes.axvline(0, color="black", linewidth=0.8)
    for at, (each, more) in enumerate(zip(differences, better, strict=True)):
        verdict = says(each, more_is_better=more)
        axes.plot([each.low, each.high], [at, at], color=_COLOURS[verdict], linewidth=2)
        axes.plot([each.value], [at], color=_COLOURS[verdict], marker="o")
        told = f"{each.value:+.4f} [{each.low:+.4f}, {each.high:+.4f}]  {verdict}"
        axes.annotate(told, (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize="small")
    reach = max((abs(end) for each in differences for end in (each.low, each.high)), default=0.0)
    axes.set(ylim=(len(names) - 0.4, -0.6), xlim=(-1.1 * reach, 1.1 * reach) if reach else (-1, 1))
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(labelsize="small")
    axes.spines[["top", "right", "left"]].set_visible(False)


def _drawable(labels: Sequence[LabelDifference]) -> list[LabelDifference]:
    """Those whose F1 both know; of more than a plot has room for, those that differ the most."""
    known = [each for each in labels if math.isfinite(each.figures[_FIGURE][2].low)]
    return sorted(known, key=lambda each: -abs(each.figures[_FIGURE][2].value))[:MOST]


def _labels_title(shown: Sequence[LabelDifference], labels: Sequence[LabelDifference]) -> str:
    some = "" if len(shown) == len(labels) else f", the {len(shown)} of {len(labels):,} labels that differ the most"
    return f"F1 by label (how often it is the true one){some}"


def _metric_name(metric: MetricDifference) -> str:
    return metric.name if metric.more_is_better else f"{metric.name}\n(less is better)"
