"""What a workspace really takes on the disk: blocks, not lengths, and what files share counts once."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.workspace import Workspace
from flows.graph.graph import Graph
from registry.cleanup.needed import size

_BLOCK = 512  # bytes (stat(2))
_LARGE = 1_000_000  # bytes: smaller files are not asked for shared blocks
_FIEMAP = 0xC020660B  # linux/fiemap.h: which blocks a file has
_HEAD, _EXTENT = struct.Struct("=QQLLLL"), struct.Struct("=QQQQQLLLL")
_EXTENTS = 512  # asked for at once
_SHARED = 0x2000

Pieces = dict[tuple[int, int], int]  # (device, inode or place on it) -> bytes


def disk(workspace: Workspace, graph: Graph) -> dict[str, int]:
    """Bytes below each folder, and of all of them together."""
    places = {"data": workspace.root / "data", "cache": graph.cache, "var": workspace.var}
    found = {name: pieces(folder) for name, folder in places.items()}
    together: Pieces = {}
    for each in found.values():
        together |= each
    return {**{name: sum(each.values()) for name, each in found.items()}, "together": sum(together.values())}


def line(found: Mapping[str, Any]) -> str:
    """The same for a person."""
    data, cache, var, together = (size(found[name]) for name in ("data", "cache", "var", "together"))
    return f"disk: {together} (data {data}, DVC's cache {cache}, var {var}; what they share counts once)"


def pieces(folder: Path) -> Pieces:
    """What the files below a folder take: a piece a file, or one a shared extent."""
    found: Pieces = {}
    for path in _files(folder):
        try:
            status = path.lstat()
            taken = status.st_blocks * _BLOCK
            extents = _shared_extents(path, status.st_dev) if taken >= _LARGE else {}
        except OSError:  # it went meanwhile, or is not ours to read
            continue
        found |= extents
        found[(status.st_dev, status.st_ino)] = max(taken - sum(extents.values()), 0)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for top, _, names in os.walk(folder):
        yield from (Path(top, name) for name in names)


def _shared_extents(path: Path, device: int) -> Pieces:
    """The parts of a file that others have too, by where they lie; none where the file system does not say.

    A place is negative, so that it is no inode.
    """
    found: Pieces = {}
    start = 0
    with path.open("rb") as file:
        while True:
            asked = bytearray(_HEAD.pack(start, 2**64 - 1 - start, 0, 0, _EXTENTS, 0) + bytes(_EXTENT.size * _EXTENTS))
            try:
                fcntl.ioctl(file.fileno(), _FIEMAP, asked)
            except OSError:
                return {}
            count = _HEAD.unpack_from(asked)[3]
            for at in range(count):
                logical, physical, length, _, _, flags, *_ = _EXTENT.unpack_from(asked, _HEAD.size + at * _EXTENT.size)
                start = logical + length
                if flags & _SHARED:
                    found[(device, -1 - physical)] = length
            if count < _EXTENTS:
                return found
