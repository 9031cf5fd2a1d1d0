"""Two releases of an index side by side, as lines for a person and as a document for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from core.tables.spelling import spelled
from core.tables.statistics import CONFIDENCE
from flows.terminal.cells import cell_text
from flows.terminal.compared_lines import metric_lines, metrics_document, pairs_document, pairs_lines
from pipelines.evidence.compare_releases import ComparedReleases, Moved
from pipelines.evidence.judged_releases import Judged

_NAMED = 10  # documents in lines, of each kind; --json has all
_MARKS = {"added": "+", "gone": "-", "changed": "~"}


def release_document(found: ComparedReleases) -> dict[str, Any]:
    """All questions that moved are in it."""
    apart = found.apart
    return {
        "first": _release(found.first),
        "second": _release(found.second),
        "kind": found.kind,
        "primary": apart.primary,
        "questions": {"common": apart.rows, "first": apart.of[0], "second": apart.of[1]},
        "asked_again": found.asked_again,
        "rejudged": found.rejudged,
        "confidence": CONFIDENCE,
        "metrics": metrics_document(apart.metrics),
        "moved": {
            "count": len(found.moved),
            "better": dict(zip(("first", "second"), found.better, strict=True)),
            "shown": [{**asdict(each.asked), "first": each.first, "second": each.second} for each in found.moved],
        },
        "documents": found.documents,
        **pairs_document(found.changes),
    }


def release_lines(found: ComparedReleases, *, most: int) -> Iterator[str]:
    """most: questions that moved."""
    apart, one, two = found.apart, found.first.called, found.second.called
    first, second = apart.of
    yield f"{one} -> {two}: {apart.rows:,} {found.kind} that both were asked (of {first:,} and {second:,})"
    if found.asked_again:
        yield f"  {found.asked_again} was live when the other was judged, and was asked the same"
    if found.rejudged:
        yield f"  {found.rejudged:,} more have other relevant documents by now and are left out"
    yield from metric_lines(apart.metrics)
    yield ""
    worse, better = found.better
    yield f"{len(found.moved):,} of them moved by {apart.primary}: {two} is better on {better:,}, worse on {worse:,}"
    for each in found.moved[:most]:
        yield from _moved_lines(each, apart.primary)
    if (more := len(found.moved) - most) > 0:
        yield f"  and {more:,} more (--rows {len(found.moved)})"
    yield from _document_lines(found.documents)
    yield from pairs_lines(found.changes)


def _moved_lines(each: Moved, primary: str) -> Iterator[str]:
    yield f"  {cell_text(each.asked.text)}"
    wanted = ", ".join(map(spelled, each.asked.relevant))
    yield f"    {primary} {each.first:.4f} -> {each.second:.4f}; wanted: {cell_text(wanted)}"


def _document_lines(documents: Mapping[str, Sequence[str]] | None) -> Iterator[str]:
    yield ""
    if documents is None:
        yield "documents: which differ was not kept with both"
        return
    told = ", ".join(f"{len(names):,} {what}" for what, names in documents.items() if names)
    yield f"documents: {told or 'no difference'}"
    for what, names in documents.items():
        yield from (f"  {_MARKS[what]} {spelled(name)}" for name in names[:_NAMED])
        if len(names) > _NAMED:
            yield f"  {_MARKS[what]} and {len(names) - _NAMED:,} more (--json)"


def _release(release: Judged) -> dict[str, str]:
    return {"index": release.index, "release": release.version}
