"""What a workspace takes on the disk: blocks, not lengths, and a file of several names counts once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.workspace import Workspace
from flows.cleanup.var_folders import PLACES
from flows.graph.graph import Graph
from registry.cleanup.needed import size

BLOCK = 512  # bytes (stat(2)): what a file takes on the disk; the engine's are sparse

Taken = dict[tuple[int, int], int]  # (device, inode) -> bytes


def disk(workspace: Workspace, graph: Graph) -> dict[str, Any]:
    """Bytes below each folder, and of all of them together; in_var: below each place of var/ that is described."""
    entries = {each.name: taken(each) for each in workspace.var.glob("*")}
    found = {
        "data": taken((workspace.root / "data").resolve()),  # it, and the cache, may be a link to another disk
        "cache": taken(graph.cache.resolve()),
        "var": _together(entries.values()),
    }
    in_var = {
        place.name: sum((entries.get(place.name) or taken(workspace.var / place.name)).values()) for place in PLACES
    }
    return {
        **{name: sum(each.values()) for name, each in found.items()},
        "together": sum(_together(found.values()).values()),
        "in_var": {name: count for name, count in in_var.items() if count},
    }


def line(found: Mapping[str, Any]) -> str:
    """The same for a person."""
    data, cache, var, together = (size(found[name]) for name in ("data", "cache", "var", "together"))
    return f"disk: {together} (data {data}, DVC's cache {cache}, var {var}; hard links count once)"


def _together(each: Iterable[Taken]) -> Taken:
    return {file: count for found in each for file, count in found.items()}


def taken(place: Path) -> Taken:
    """What each file at or below a place takes. Blocks that files share on btrfs or xfs count in each of them."""
    return {(each.st_dev, each.st_ino): each.st_blocks * BLOCK for each in files(place)}


def files(place: Path) -> Iterator[os.stat_result]:
    """Every file at or below a place; a link is a file. What goes meanwhile, or is not ours to read, is left out."""
    if place.is_symlink() or not place.is_dir():
        found = iter([place])
    else:
        found = (Path(top, name) for top, _, names in os.walk(place) for name in names)
    for path in found:
        with suppress(OSError):
            yield path.lstat()
