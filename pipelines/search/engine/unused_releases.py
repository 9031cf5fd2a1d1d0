"""What the embedded engine holds, live or not: found and removed for `headrace gc`. A server's is never touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.workspace import Workspace, is_name
from pipelines.search.engine.release_files import VERSION, Versions


@dataclass(frozen=True)
class Standing:
    """A version of an index, as it lies here."""

    index: str
    version: str
    folder: Path
    live: bool
    previous: bool  # what a rollback goes back to
    read: bool  # by somebody, now


def standing(workspace: Workspace) -> Iterator[Standing]:
    """Every version of every index that was published here, of retired ones too."""
    versions = _versions(workspace)
    for folder in sorted(versions.root.iterdir()) if versions.root.is_dir() else ():
        if folder.is_dir() and is_name(folder.name):
            pointers = versions.pointers(folder.name)
            for each in sorted(folder.iterdir()):
                if VERSION.fullmatch(each.name):
                    read = versions.is_read(folder.name, each.name)
                    live, previous = each.name == pointers.live, each.name == pointers.previous
                    yield Standing(folder.name, each.name, each, live, previous, read)


def remove(workspace: Workspace, index: str, version: str) -> bool:
    """Remove a version that is not live, unless somebody reads it. Returns whether it went."""
    versions = _versions(workspace)
    with versions.building(index):
        return version in versions.superseded(index) and versions.remove(index, version)


def take_down(workspace: Workspace, index: str) -> bool:
    """Remove an index that is not live any more, whole, unless somebody reads it. Returns whether it went."""
    versions = _versions(workspace)
    with versions.building(index):
        (versions.root / index / "CURRENT").unlink(missing_ok=True)
        removed = [versions.remove(index, version) for version in versions.superseded(index)]
        return False not in removed


def _versions(workspace: Workspace) -> Versions:
    return Versions(workspace.var / "qdrant")
