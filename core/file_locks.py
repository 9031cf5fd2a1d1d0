"""Locks between processes: a file that one of them holds by flock(2). A holder's death frees it.

A NAME.lock is another thing: what a recipe's references pointed at.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.atomic_files import make_folder
from core.errors import readable_faults


@contextmanager
def held(path: Path) -> Iterator[IO[str]]:
    """Hold a lock alone while the block runs; whoever has it is waited for."""
    with lock_file(path) as file:
        take(file)
        yield file


@contextmanager
def locked(var: Path, name: str) -> Iterator[None]:
    """Hold var/locks/NAME.lock alone while the block runs; other processes of this workspace wait."""
    with held(workspace_lock(var, name)):
        yield


def workspace_lock(var: Path, name: str) -> Path:
    return var / "locks" / f"{name}.lock"


def lock_file(path: Path) -> IO[str]:
    """The file of a lock, made if need be, not yet taken. Closing it lets go of the lock. Raises Unwritable."""
    with readable_faults(path.parent):
        make_folder(path.parent)
        return path.open("a+", encoding="utf-8")


def take(file: IO[str], *, shared: bool = False, wait: bool = True) -> bool:
    """Take a lock, alone or with others who share it; with `wait` off, False when somebody has it."""
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, how if wait else how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
