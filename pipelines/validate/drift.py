"""What a table of examples looks like in numbers, and how far two tables are apart.

The profile of the champion's data is kept in a recipe's lock; a table that moved too far from it stops the graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.tables.labels import name_among

MOST_EDGES = 65  # at most 1/64 of the rows between two neighbours bounds the error; the lock stays readable
Profile = Mapping[str, Any]


@dataclass(frozen=True)
class Distance:
    """How far one distribution moved: 0 is the same, 1 has nothing in common."""

    what: str
    value: float
    measure: str
    detail: str


def histogram(values: np.ndarray[Any, Any]) -> dict[str, list[float]]:
    """Some of the values as edges, and the exact share of values up to and including each of them.

    values: any length above 0, any order; not finite ones are left out. All distinct values are edges when there
    are few, quantiles when there are many.
    """
    ordered = np.sort(values[np.isfinite(values)].astype(np.float64))
    if not len(ordered):
        return {"edges": [], "cumulative": []}
    edges = np.unique(ordered)
    if len(edges) > MOST_EDGES:
        ranks = np.linspace(0, len(ordered) - 1, MOST_EDGES).round().astype(np.int64)
        edges = np.unique(ordered[ranks])
    cumulative = np.searchsorted(ordered, edges, side="right") / len(ordered)
    return {"edges": edges.tolist(), "cumulative": [round(share, 9) for share in cumulative.tolist()]}


def make_profile(
    rows: int, labels: Mapping[str, int] | None, numbers: Mapping[str, np.ndarray[Any, Any]]
) -> dict[str, Any]:
    """The profile of a table: its row count, each label's share and a histogram of every number."""
    total = sum(labels.values()) if labels else 0
    return {
        "rows": rows,
        "labels": {label: round(count / total, 9) for label, count in sorted(labels.items())} if labels else None,
        "numbers": {name: histogram(values) for name, values in sorted(numbers.items())},
    }


def distances(now: Profile, reference: Profile) -> list[Distance]:
    """The distance of every distribution that both profiles have, the largest first.

    Labels by total variation, numbers by the Kolmogorov-Smirnov distance of the stored histograms.
    """
    found = []
    if now.get("labels") and reference.get("labels"):
        found.append(_total_variation(now["labels"], reference["labels"]))
    for name in sorted(now["numbers"].keys() & reference.get("numbers", {}).keys()):
        new, old = now["numbers"][name], reference["numbers"][name]
        if new["edges"] and old["edges"]:
            found.append(_kolmogorov_smirnov(name, new, old))
    return sorted(found, key=lambda distance: (-distance.value, distance.what))


def _total_variation(now: Mapping[str, float], reference: Mapping[str, float]) -> Distance:
    """Half the sum of the differences: the share of rows that would have to change their label."""
    reference = _named_as(reference, now)
    labels = sorted(now.keys() | reference.keys())
    moved = {label: now.get(label, 0.0) - reference.get(label, 0.0) for label in labels}
    most = max(labels, key=lambda label: abs(moved[label]))
    return Distance(
        "labels",
        sum(abs(change) for change in moved.values()) / 2,
        "total variation",
        f"share of {most!r} {reference.get(most, 0.0):.3f} -> {now.get(most, 0.0):.3f}",
    )


def _named_as(reference: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """The reference's shares under the names that their labels have now: an earlier commit may have written them."""
    found: dict[str, float] = defaultdict(float)
    for label, share in reference.items():
        found[name_among(label, now.keys())] += share
    return dict(found)


def _kolmogorov_smirnov(name: str, now: Mapping[str, Any], reference: Mapping[str, Any]) -> Distance:
    """The largest difference between the shares of values up to x, over every edge x of either histogram."""
    edges = np.union1d(now["edges"], reference["edges"])
    gaps = np.abs(_share_up_to(edges, now) - _share_up_to(edges, reference))
    at = int(np.argmax(gaps))
    return Distance(
        name,
        float(gaps[at]),
        "Kolmogorov-Smirnov",
        f"share up to {edges[at]:g} {_share_up_to(edges, reference)[at]:.3f} -> {_share_up_to(edges, now)[at]:.3f}",
    )


def _share_up_to(points: np.ndarray[Any, Any], histogram: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    cumulative = np.concatenate([[0.0], histogram["cumulative"]])
    shares: np.ndarray[Any, Any] = cumulative[np.searchsorted(histogram["edges"], points, side="right")]
    return shares
