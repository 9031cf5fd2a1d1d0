"""What a workspace takes on the disk: blocks, not lengths, and a file of several names counts once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.workspace import Workspace
from flows.graph.graph import Graph
from registry.cleanup.needed import size

_BLOCK = 512  # bytes (stat(2))

Taken = dict[tuple[int, int], int]  # (device, inode) -> bytes


def disk(workspace: Workspace, graph: Graph) -> dict[str, int]:
    """Bytes below each folder, and of all of them together."""
    places = {"data": workspace.root / "data", "cache": graph.cache, "var": workspace.var}
    found = {name: taken(folder) for name, folder in places.items()}
    together: Taken = {}
    for each in found.values():
        together |= each
    return {**{name: sum(each.values()) for name, each in found.items()}, "together": sum(together.values())}


def line(found: Mapping[str, Any]) -> str:
    """The same for a person."""
    data, cache, var, together = (size(found[name]) for name in ("data", "cache", "var", "together"))
    return f"disk: {together} (data {data}, DVC's cache {cache}, var {var}; hard links count once)"


def taken(folder: Path) -> Taken:
    """What each file below a folder takes. Blocks that files share on btrfs or xfs count in each of them."""
    found: Taken = {}
    for top, _, names in os.walk(folder):
        for name in names:
            try:
                status = Path(top, name).lstat()
            except OSError:  # it went meanwhile, or is not ours to read
                continue
            found[(status.st_dev, status.st_ino)] = status.st_blocks * _BLOCK
    return found
