"""Two versions side by side, as lines for a person and as a document for scripts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from core.schema.columns import PLACE
from core.tables.spelling import spelled
from core.tables.statistics import CONFIDENCE, Interval
from flows.terminal.cells import cell_text, cells_line, id_text
from pipelines.evidence.by_label import LabelDifference
from pipelines.evidence.changes import Changed, Changes
from pipelines.evidence.compare import Compared
from pipelines.evidence.differences import Answer, MetricDifference, RowDifference, says
from registry.store.versions import Version

_LABELS, _FILES = 20, 10  # that are named in lines; --json has all


def compared_document(found: Compared) -> dict[str, Any]:
    apart = found.apart
    return {
        "first": _version(found.first),
        "second": _version(found.second),
        "task": found.task,
        "primary": apart.primary,
        "rows": {"common": apart.rows, "first": apart.of[0], "second": apart.of[1]},
        "asked_again": found.asked_again,
        "relabelled": found.relabelled,
        "confidence": CONFIDENCE,
        "metrics": metrics_document(apart.metrics),
        "labels": {
            each.label: {
                "support": each.support,
                **{
                    name: {"first": _number(one), "second": _number(two), "difference": difference.as_json()}
                    for name, (one, two, difference) in each.figures.items()
                },
            }
            for each in apart.labels
        },
        "differ": None
        if apart.rows_apart is None
        else {
            "count": apart.rows_apart.count,
            "nearer": dict(zip(("first", "second"), apart.rows_apart.nearer, strict=True)),
            "error": apart.rows_apart.error_name,
            "shown": [{**asdict(row), "row": found.cells.get(row.row_id)} for row in apart.rows_apart.shown],
        },
        **pairs_document(found.changes),
        "code": {"commit": found.changes.commit, "files": found.changes.files},
    }


def compared_lines(found: Compared) -> Iterator[str]:
    apart, one, two = found.apart, found.first.called, found.second.called
    first, second = apart.of
    yield f"{one} -> {two}: {apart.rows:,} test rows that both answered (of {first:,} and {second:,})"
    if found.asked_again:
        yield f"  {found.asked_again} was asked about the other's rows when it was champion"
    if found.relabelled:
        yield f"  something else is true about {found.relabelled:,} of them by now: what {two}'s evidence says counts"
    yield from metric_lines(apart.metrics)
    yield from _label_lines(apart.labels)
    if apart.rows_apart is not None:
        count, nearer = apart.rows_apart.count, apart.rows_apart.nearer
        yield ""
        yield f"they do not say the same of {count:,} rows; nearer the truth: {one} {nearer[0]:,}, {two} {nearer[1]:,}"
        for row in apart.rows_apart.shown:
            cells = {name: cell for name, cell in found.cells.get(row.row_id, {}).items() if name not in found.targets}
            yield from _row_lines(row, cells, apart.rows_apart.error_name, (one, two))
        if (more := count - len(apart.rows_apart.shown)) > 0:
            yield f"  and {more:,} more rows (--rows {count})"
    yield from pairs_lines(found.changes)
    yield from _code_lines(found.changes)


def metrics_document(metrics: Sequence[MetricDifference]) -> dict[str, Any]:
    return {
        each.name: {
            "first": _number(each.first),
            "second": _number(each.second),
            "difference": each.difference.as_json(),
            "better": "more" if each.more_is_better else "less",
            "says": each.says,
        }
        for each in metrics
    }


def metric_lines(metrics: Sequence[MetricDifference]) -> Iterator[str]:
    for each in metrics:
        values = f"{each.first:.4f} -> {each.second:.4f}"
        yield f"  {each.name:<18} {values:<20} {_interval(each.difference)}  {each.says}"


def pairs_document(changes: Changes) -> dict[str, Any]:
    """What differs of settings and data."""
    return {"settings": _pairs(changes.settings), "data": _pairs(changes.data)}


def pairs_lines(changes: Changes) -> Iterator[str]:
    for title, pairs in (("settings", changes.settings), ("data", changes.data)):
        yield ""
        yield f"{title}: {'no difference' if not pairs else ''}".rstrip()
        yield from (f"  {key}: {_value(old)} -> {_value(new)}" for key, (old, new) in pairs.items())


def _label_lines(labels: Sequence[LabelDifference]) -> Iterator[str]:
    if not labels:
        return
    yield ""
    yield "by label: precision, recall, F1"
    by_size = sorted(labels, key=lambda each: -abs(_finite(each.figures["f1"][2].value)))
    for each in by_size[:_LABELS]:
        shown = (f"{_share(one)} -> {_share(two)}" for one, two, _ in each.figures.values())
        difference = each.figures["f1"][2]
        verdict = says(difference, more_is_better=True)
        yield f"  {spelled(each.label, 24):<24} {'   '.join(shown)}   F1 {_interval(difference)}  {verdict}"
    if len(labels) > _LABELS:
        yield f"  and {len(labels) - _LABELS:,} more labels that differ less (--json)"


def _row_lines(row: RowDifference, cells: Mapping[str, Any], error_name: str, names: tuple[str, str]) -> Iterator[str]:
    told = {name: cell for name, cell in cells.items() if name != PLACE}
    place = spelled(cells[PLACE]) if cells.get(PLACE) else id_text(row.row_id)
    yield f"  {place}: {cells_line(told)}" if told else f"  {place}"
    answers = (f"{name} {_said(each, error_name)}" for name, each in zip(names, (row.first, row.second), strict=True))
    yield "    " + "; ".join([*([f"true {cell_text(row.true)}"] if row.true is not None else []), *answers])


def _said(answer: Answer, error_name: str) -> str:
    if answer.said is None:
        return f"{error_name} {answer.error:.4f}"
    return cell_text(answer.said) + (f" ({answer.sure:.2f})" if answer.sure is not None else "")


def _code_lines(changes: Changes) -> Iterator[str]:
    yield ""
    commit = f"commit {changes.commit[0][:10]} -> {changes.commit[1][:10]}" if changes.commit else "the same commit"
    if changes.files is None:
        yield f"code: {commit}; which files differ was not kept with both"
        return
    yield f"code: {commit}, files that a stage runs and that differ: {len(changes.files):,}"
    yield from (f"  {name}" for name in changes.files[:_FILES])
    if len(changes.files) > _FILES:
        yield f"  and {len(changes.files) - _FILES:,} more (--json)"


def _version(version: Version) -> dict[str, Any]:
    return {"model": version.name, "version": version.version, "aliases": list(version.aliases)}


def _pairs(changed: Changed) -> dict[str, dict[str, Any]]:
    return {key: {"first": old, "second": new} for key, (old, new) in changed.items()}


def _value(value: Any) -> str:
    """What a version lacks is nothing."""
    return "nothing" if value is None else id_text(value) if isinstance(value, str) else cell_text(value)


def _interval(each: Interval) -> str:
    if not math.isfinite(each.low):
        return "no value"
    return f"{each.value:+.4f} [{each.low:+.4f}, {each.high:+.4f}]"


def _share(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "  -  "


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
