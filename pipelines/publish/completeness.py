"""How many of its documents a release holds, beside the live one: a lost mount must not gut an index.

A document that cannot be read costs itself. So many of them that a fifth is gone cost the release, until a person says
that it is meant (`headrace index NAME --force publish`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipelines.search.engine.engine import Release
from registry.promotion.gate import Reason, Verdict

GATE = "documents"
MOST = 0.2  # share of the documents
_ONE = 1  # document that is lost or cannot be read says nothing, however few there are


def with_completeness(verdict: Verdict, facts: Mapping[str, Any], live: Release | None, index: str) -> Verdict:
    """The verdict, refused when too many documents are left out. facts: of the release. live: None when there is none.

    A live release that leaves out more than a fifth was meant so: the next one may leave out a fifth more.
    """
    why = _unread(facts, live) or _lost(facts, live)
    if why is None:
        return verdict
    share, words = why
    told = f"{words}. If that is meant, `headrace index {index} --force publish` publishes it"
    reason = Reason(GATE, share, f"at most {MOST:g} left out", "failed", told)
    return Verdict(False, [*verdict.reasons, reason])


def _unread(facts: Mapping[str, Any], live: Release | None) -> tuple[float, str] | None:
    """The share of documents that cannot be read, and what is to be said of it, where it is too large."""
    share, before = _share(facts), 0.0
    if live is not None:
        if "unread" not in live.facts:  # made before releases said so: what it left out was in order
            return None
        before = _share(live.facts)
    if facts["unread"] <= _ONE or share <= MOST + (before if before > MOST else 0.0):
        return None
    beside = f", of the live release {before:.0%}" if live is not None else ""
    count = facts["unread"] + facts["documents"]
    return share, f"{facts['unread']:,} of {count:,} documents could not be read ({share:.0%}{beside})"


def _lost(facts: Mapping[str, Any], live: Release | None) -> tuple[float, str] | None:
    """The share of the live release's documents that are gone, forgotten ones aside, where it is too large."""
    if live is None:
        return None
    before = live.facts.get("documents")
    if before is None:
        before = len({point.payload["document"] for point in live.points()})
    meant = facts["forgotten"] - live.facts.get("forgotten", facts["forgotten"])
    lost = before - facts["documents"] - max(meant, 0)
    if lost <= _ONE or lost <= MOST * before:
        return None
    return lost / before, f"{lost:,} of the {before:,} documents of the live release are gone"


def _share(facts: Mapping[str, Any]) -> float:
    return float(facts["unread"] / max(facts["unread"] + facts["documents"], 1))
