"""var/releases/INDEX.jsonl: which release of an index was live when, and what took its place. Append-only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

from core.atomic_files import make_folder
from core.workspace import Workspace, now, somebody

What = Literal["published", "refused", "rolled back"]


def record(workspace: Workspace, index: str, what: What, before: str | None, version: str | None) -> None:
    """One line, on disk before this returns. before: the live release until then; version: the one that it is about."""
    entry = {"at": now(), "what": what, "from": before, "to": version, "who": somebody()}
    path = _path(workspace, index)
    make_folder(path.parent)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
        file.flush()
        os.fsync(file.fileno())


def entries(workspace: Workspace, index: str) -> list[dict[str, Any]]:
    """All of them, the oldest first; a line that a power cut tore is left out."""
    path = _path(workspace, index)
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _path(workspace: Workspace, index: str) -> Path:
    return workspace.var / "releases" / f"{index}.jsonl"
