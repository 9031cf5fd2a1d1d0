"""Receipts: what `register` and `publish` left at a server, checked against it. DVC sees only the file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.atomic_files import said_in
from core.workspace import Job, Kind, Workspace
from registry.promotion.gate import reason_line

_FILES: dict[Kind, tuple[str, str]] = {
    "recipe": ("register", "registered.json"),
    "index": ("publish", "published.json"),
}


def lost(workspace: Workspace, kind: Kind, names: Sequence[str]) -> dict[str, str]:
    """The stages whose receipt says what its server does not hold (any more): address -> reason.

    Raises Outage when a server does not answer: then nobody knows.
    """
    stage, file = _FILES[kind]
    found = {}
    for name in names:
        job = workspace.job(kind, name)
        if (receipt := read_receipt(job)) is not None and (why := _untrue(job, receipt)):
            found[f"{stage}@{name}"] = f"its receipt {file} does not hold: {why}"
    return found


def refused(workspace: Workspace, kind: Kind, names: Sequence[str]) -> dict[str, list[str]]:
    """The recipes or indexes whose gates refused what they made last: name -> each gate with its figures."""
    found = {}
    for name in names:
        verdict = (read_receipt(workspace.job(kind, name)) or {}).get("verdict") or {}
        if verdict.get("passed") is False:
            found[name] = [reason_line(each) for each in verdict.get("reasons", []) if not each.get("passed")]
    return found


def read_receipt(job: Job) -> dict[str, Any] | None:
    """A job's receipt; None when there is none that can be read (its stage is then stale)."""
    return said_in(job.folder / _FILES[job.kind][1]) or None


def _untrue(job: Job, receipt: dict[str, Any]) -> str | None:
    """Why the receipt is no longer true; None when it is."""
    try:
        if job.kind == "index":
            from pipelines.search.engine.index_receipt import receipt_holds as index_receipt_holds

            return index_receipt_holds(receipt, job.workspace)
        from registry.store.overview import receipt_holds

        return receipt_holds(receipt, job.workspace.var)
    except KeyError as key:
        return f"it lacks {key}"
