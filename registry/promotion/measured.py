"""What an evaluation measured, read back: metrics.json, which is flat, and report.json, which has all the rest.

metrics.json of an earlier Headrace held everything, nested; it is read as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.atomic_files import read_json

METRICS, REPORT = "metrics.json", "report.json"
_PARTS = ("baselines", "differences", "slices", "labels", "ways")  # of report.json, beside `model`

Intervals = Mapping[str, Mapping[str, Any]]  # metric -> {value, low, high}


@dataclass(frozen=True)
class Measured:
    """An evaluation. Without intervals where nothing but metrics.json is there.

    model: the model's metrics, or those of an index as it is searched. baselines: by name. differences: baseline -> the
    model's primary metric minus its. slices: column -> value -> {rows, and metrics}. labels: label -> {support,
    precision, recall, f1}. ways: the other ways of searching an index -> metrics.
    """

    model: Intervals = field(default_factory=dict)
    baselines: Mapping[str, Intervals] = field(default_factory=dict)
    differences: Intervals = field(default_factory=dict)
    slices: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ways: Mapping[str, Intervals] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, float]:
        """The model's metrics as numbers, as metrics.json has them."""
        return {name: each["value"] for name, each in self.model.items() if each.get("value") is not None}


def read_measured(folder: Path) -> Measured | None:
    """The evaluation in a folder; None where there is none. Raises BadRequest for a file that is torn."""
    if not (folder / METRICS).exists():
        return None
    report = read_json(folder / REPORT) if (folder / REPORT).exists() else {}
    return measured(read_json(folder / METRICS), report)


def measured(metrics: Mapping[str, Any], report: Mapping[str, Any]) -> Measured:
    """metrics: metrics.json of either form. report: report.json, {} where there is none."""
    if any(isinstance(each, Mapping) for each in metrics.values()):
        return _nested(metrics)
    if "model" not in report:
        return Measured({name: {"value": value} for name, value in metrics.items()})
    return Measured(report["model"], **{part: report[part] for part in _PARTS if part in report})


def _nested(metrics: Mapping[str, Any]) -> Measured:
    """metrics.json of an earlier Headrace: metrics and ways of searching at its top, beside baselines and the like."""
    found = {name: each for name, each in metrics.items() if isinstance(each, Mapping) and name not in _PARTS}
    differences = metrics.get("differences", {})
    return Measured(
        model={name: each for name, each in found.items() if "value" in each},
        baselines=metrics.get("baselines", {}),
        differences={name: interval for name, each in differences.items() for interval in each.values()},
        slices=metrics.get("slices", {}),
        ways={name: each for name, each in found.items() if "value" not in each},
    )
