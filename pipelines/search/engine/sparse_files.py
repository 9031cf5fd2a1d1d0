"""Files with holes: the engine reserves 128 MB for an index of 6 MB. Copied and hashed by what is in them.

What a hole is depends on the file system, so neither function shows one: a block of zeros counts as none.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

_BLOCK = 2**16
_ZEROS = bytes(_BLOCK)


def digest(path: Path) -> str:
    """sha256 over the size and every block that is not all zeros, with its place: equal for equal content."""
    found = hashlib.sha256(str(path.stat().st_size).encode())
    for at, block in _blocks(path):
        found.update(f" {at} ".encode())
        found.update(block)
    return found.hexdigest()


def copy(source: Path, target: Path) -> None:
    """Copy a file to one that is not there yet; blocks of zeros take no space in the copy."""
    with target.open("xb") as file:
        file.truncate(source.stat().st_size)
        for at, block in _blocks(source):
            os.pwrite(file.fileno(), block, at)


def _blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """The blocks that are not all zeros, in order, and where they begin."""
    with path.open("rb", buffering=0) as file:
        at = _next_data(file.fileno(), 0)
        while at is not None and (block := os.pread(file.fileno(), _BLOCK, at)):
            if block != _ZEROS[: len(block)]:
                yield at, block
            at = _next_data(file.fileno(), at + _BLOCK)


def _next_data(number: int, at: int) -> int | None:
    """The first block at or after `at` that may hold data; None: there is none."""
    try:
        return os.lseek(number, at, os.SEEK_DATA) // _BLOCK * _BLOCK
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
