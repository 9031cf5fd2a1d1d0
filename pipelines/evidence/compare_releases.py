"""Two releases of an index side by side, from what was kept when each was judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.errors import BadRequest
from core.tables.statistics import means, sample
from pipelines.evidence.changes import Changes, Made, changed, changes, flat
from pipelines.evidence.comparison import RESAMPLES, SEED
from pipelines.evidence.differences import Apart, MetricDifference
from pipelines.evidence.judged_releases import Asked, Judged, PerQuery

_LEFT_OUT = ("index", "files", "search", "reranker")  # facts that settings or documents say as well


@dataclass(frozen=True)
class Moved:
    """A question that one of two releases answers better. first, second: the primary metric of each."""

    asked: Asked
    first: float
    second: float


@dataclass(frozen=True)
class ComparedReleases:
    """apart: the metrics on the questions that both were asked. kind: of questions.

    moved: the questions of which the primary metric differs, the largest difference first; better: how many of them
    the first release answers better, and the second. asked_again: the release that was asked the other's questions
    while it was live. rejudged: questions of both, left out since other documents are relevant to them by now.
    documents: what the second has more, lacks, and has with another text; None where that was not kept with both.
    """

    first: Judged
    second: Judged
    kind: str
    apart: Apart
    moved: Sequence[Moved]
    better: tuple[int, int]
    asked_again: str | None
    rejudged: int
    changes: Changes
    documents: Mapping[str, Sequence[str]] | None


def compare_releases(first: Judged, second: Judged) -> ComparedReleases:
    """Raises BadRequest where the two cannot be compared: one release, or no question that both were asked."""
    if first.called == second.called:
        raise BadRequest(f"both are {first.called}. `headrace history {first.index}` names the releases.")
    pairs = _pairs(first, second)
    if not pairs.asked:
        asked = [f"{each.called} was asked {len(each.asked):,} {each.report['kind']}" for each in (first, second)]
        left = f" ({pairs.rejudged:,} have other relevant documents by now)" if pairs.rejudged else ""
        raise BadRequest(f"{asked[0]}, {asked[1]}, and none of them is the same{left}: nothing to compare.")
    primary = second.report["primary"]
    one, two = pairs.first[primary], pairs.second[primary]
    order = np.argsort(-np.abs(two - one), kind="stable")
    moved = [Moved(pairs.asked[at], float(one[at]), float(two[at])) for at in order.tolist() if one[at] != two[at]]
    return ComparedReleases(
        first,
        second,
        second.report["kind"],
        Apart(
            len(pairs.asked), (len(first.asked), len(second.asked)), primary,
            _metrics(pairs.first, pairs.second, primary), [], None,
        ),
        moved,
        (int((one > two).sum()), int((two > one).sum())),
        pairs.asked_again,
        pairs.rejudged,
        _changes(first, second),
        _documents(first.documents, second.documents),
    )  # fmt: skip


@dataclass(frozen=True)
class _Pairs:
    """What two releases made of the same questions."""

    asked: Sequence[Asked]
    first: PerQuery
    second: PerQuery
    asked_again: str | None = None
    rejudged: int = 0


def _pairs(first: Judged, second: Judged) -> _Pairs:
    """One that was live when the other was judged was asked all of its questions; else those that both were asked."""
    if second.live_then is not None and second.report["live"] == first.version:
        return _Pairs(second.asked, second.live_then, second.measures, first.called)
    if first.live_then is not None and first.report["live"] == second.version:
        return _Pairs(first.asked, first.measures, first.live_then, second.called)
    known = {(each.id, each.text): at for at, each in enumerate(first.asked)}
    found = [(known[key], at) for at, each in enumerate(second.asked) if (key := (each.id, each.text)) in known]
    same = [(one, two) for one, two in found if first.asked[one].relevant == second.asked[two].relevant]
    ones, twos = [one for one, _ in same], [two for _, two in same]
    return _Pairs(
        [second.asked[at] for at in twos],
        {name: values[ones] for name, values in first.measures.items()},
        {name: values[twos] for name, values in second.measures.items()},
        rejudged=len(found) - len(same),
    )


def _metrics(first: PerQuery, second: PerQuery, primary: str) -> list[MetricDifference]:
    """The primary one first."""
    drawn = sample({"first": first, "second": second}, means, resamples=RESAMPLES, seed=SEED)
    one, two = drawn["first"], drawn["second"]
    return [
        MetricDifference(name, True, one.values[name], two.values[name], two.difference(one, name))
        for name in sorted(one.values, key=lambda name: name != primary)
    ]


def _changes(first: Judged, second: Judged) -> Changes:
    found = changes(*(Made({}, each.settings, None, {}) for each in (first, second)))
    facts = [flat({k: v for k, v in each.facts.items() if k not in _LEFT_OUT}) for each in (first, second)]
    return replace(found, data=found.data | changed(*facts))


def _documents(first: Mapping[str, str] | None, second: Mapping[str, str] | None) -> dict[str, list[str]] | None:
    if first is None or second is None:
        return None
    return {
        "added": sorted(second.keys() - first.keys()),
        "gone": sorted(first.keys() - second.keys()),
        "changed": sorted(name for name in first.keys() & second.keys() if first[name] != second[name]),
    }
