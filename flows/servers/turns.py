"""One run a recipe or index at a time: a lock in var/locks that says who holds it, since when, with which command."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import IO

from core.file_locks import lock_file, take, workspace_lock
from core.workspace import Kind, Workspace

_GC = "gc"  # held by `headrace gc`; runs share it
_RUN = ".run.lock"


@dataclass(frozen=True)
class Holder:
    pid: int
    command: str
    since: str  # ISO 8601, local time

    def __str__(self) -> str:
        return f"process {self.pid} (`{self.command}`, since {self.since[11:19]})" if self.pid else self.command


@contextmanager
def turns(
    workspace: Workspace, jobs: Collection[tuple[Kind, str]], *, command: str, say: Callable[[str], None]
) -> Iterator[bool]:
    """Hold the turn of each recipe or index; yields whether it had to wait for one.

    Locks are taken in one order everywhere, so no two runs wait for each other. A holder's death frees its turn.
    """
    waited = False
    with ExitStack() as held:
        waited |= held.enter_context(working(workspace, say=say))
        for kind, name in sorted(jobs):
            file = held.enter_context(_open(workspace, f"{kind}-{name}.run"))
            if not take(file, wait=False):
                waited = True
                say(f"{name}: waiting for {_read(file)}, which is running it")
                take(file)
            _write(file, command)
        yield waited


@contextmanager
def working(workspace: Workspace, *, say: Callable[[str], None]) -> Iterator[bool]:
    """Keep `headrace gc` off while the block works; yields whether it had to wait for one."""
    with _open(workspace, _GC) as file:
        waited = not take(file, shared=True, wait=False)
        if waited:
            say(f"waiting for {_read(file)}, which frees space")
            take(file, shared=True)
        yield waited


@contextmanager
def alone(workspace: Workspace, *, command: str, say: Callable[[str], None]) -> Iterator[None]:
    """Work while no run, reproduction or other gc of the workspace does; waits for those that do, and says for whom."""
    with _open(workspace, _GC) as file:
        if not take(file, wait=False):
            at_work = list(_runs(workspace)) or [_read(file)]
            say(f"waiting for {', '.join(map(str, at_work))}")
            take(file)
        _write(file, command)
        try:
            yield
        finally:
            file.truncate(0)  # the next one to wait, waits for a run


@contextmanager
def no_stage(workspace: Workspace) -> Iterator[str | None]:
    """Yield None and hold the lock of every stage that ever ran here, or yield which is at work now.

    For stages that run without DVC, or in the copy of a DVC experiment.
    """
    found = [path for kind in ("recipe", "index") for path in (workspace.var / "locks").glob(f"{kind}-*.lock")]
    with ExitStack() as held:
        for path in sorted(path for path in found if not path.name.endswith(_RUN)):
            file = held.enter_context(lock_file(path))
            if not take(file, wait=False):
                file.seek(0)
                yield f"{file.read().strip()} ({path.stem})"
                return
        yield None


def holder(workspace: Workspace, kind: Kind, name: str) -> Holder | None:
    """Who runs this recipe or index now, if anybody."""
    path = workspace_lock(workspace.var, f"{kind}-{name}.run")
    if not path.exists():
        return None
    with lock_file(path) as file:
        return None if take(file, shared=True, wait=False) else _read(file)


@contextmanager
def only_one(workspace: Workspace, what: str, *, command: str) -> Iterator[Holder | None]:
    """Yield None and hold the lock called `what`, or yield who holds it."""
    with _open(workspace, what) as file:
        if not take(file, wait=False):
            yield _read(file)
            return
        _write(file, command)
        yield None


def _runs(workspace: Workspace) -> Iterator[Holder]:
    """Who has a turn now."""
    for path in sorted((workspace.var / "locks").glob(f"*{_RUN}")):
        with lock_file(path) as file:
            if not take(file, shared=True, wait=False):
                yield _read(file)


def _open(workspace: Workspace, what: str) -> IO[str]:
    return lock_file(workspace_lock(workspace.var, what))


def _write(file: IO[str], command: str) -> None:
    file.seek(0)
    file.truncate()
    since = datetime.now().astimezone().isoformat(timespec="seconds")
    file.write(json.dumps({"pid": os.getpid(), "command": command, "since": since}))
    file.flush()


def _read(file: IO[str]) -> Holder:
    file.seek(0)
    try:
        return Holder(**json.loads(file.read()))
    except (json.JSONDecodeError, TypeError):  # its holder is between truncating and writing
        return Holder(0, "another process", "")
