"""DVC and the stages it starts in forked processes, one of them killed at a chosen write or at a chosen instant.

The stages are the real ones, started by DVC as modules; only what costs seconds, the imports, is shared.
"""

from __future__ import annotations

import json
import os
import runpy
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DVC = "dvc"  # the driver's name among the processes; a stage's is its address
_WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "sqlite3.connect"}
_WRITES |= {"os.fsync"}  # told by tests/faults/disk.py; Python itself does not
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Trap:
    """Kills process `who`: before its `at`-th write, or `at` seconds after it began. group: and all around it.

    full: kills nothing, but leaves no byte free on the file system from the `at`-th write on.
    """

    who: str
    at: int | float
    group: bool = False
    full: bool = False

    def __str__(self) -> str:
        when = f"write {self.at}" if isinstance(self.at, int) else f"{self.at:.2f} s"
        return f"{self.who} at {when}{', the whole group' if self.group else ''}"


class _Watched:
    """What happens in this process: its name, its writes so far, and the trap that may end it."""

    def __init__(self) -> None:
        self.root, self.me, self.writes, self.began = "", "", 0, 0.0
        self.trap: Trap | None = None

    def enter(self, me: str) -> None:
        self.me, self.writes, self.began = me, 0, time.monotonic()
        if self.trap is not None and self.trap.who == me and isinstance(self.trap.at, float):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process at once, inside C code too
            signal.setitimer(signal.ITIMER_REAL, max(self.trap.at, 1e-3))

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not flags & _WRITING:
                return
        elif event in _WRITES:
            path = arguments[0]
        else:
            return
        if not isinstance(path, str) or (path.startswith("/") and not path.startswith(self.root)):
            return
        self.writes += 1
        if self.trap is not None and self.trap.who == self.me and self.trap.at == self.writes:
            if self.trap.full:
                self.trap = None
                fill(Path(self.root))
                return
            if self.trap.group:
                os.killpg(0, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    def leave(self) -> None:
        """Append what this process did to the record: who, writes, seconds."""
        line = json.dumps([self.me, self.writes, time.monotonic() - self.began])
        with Path(f"{self.root}.record").open("a", encoding="utf-8") as record:
            record.write(line + "\n")


_watched = _Watched()


def fill(root: Path) -> None:
    """Take all that is free on the file system, with a file beside the workspace."""
    with Path(f"{root}.filler").open("ab") as filler:
        free = os.statvfs(root)
        if free.f_bavail:
            os.posix_fallocate(filler.fileno(), filler.tell(), free.f_bavail * free.f_frsize)


def repro(
    root: Path,
    *,
    plain: bool,
    trap: Trap | None = None,
    only: str | None = None,
    watch: Callable[[Path], None] | None = None,
) -> int:
    """Bring the whole graph, or one stage, up to date in a fork with its own process group; the driver's exit code.

    plain: as `dvc repro` does; otherwise as the workers of `headrace run` do, stage by stage.
    watch: called first in the fork.
    """

    def work() -> None:
        if watch is not None:
            watch(root)
        _drive(root, plain=plain, only=only)

    return forked(work, root, trap)


def forked(work: Callable[[], object], root: Path, trap: Trap | None = None) -> int:
    """Do some work in a forked process of its own group; its exit code. Its output goes to ROOT.log."""
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        file = os.open(f"{root}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.chdir(root)
        _watched.root, _watched.trap = str(root), trap
        sys.addaudithook(_watched.hear)
        _end(work, DVC)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _drive(root: Path, *, plain: bool, only: str | None) -> None:
    from dvc.stage import run
    from dvc.utils.serialize import _yaml

    run._run = _stage
    _yaml.parse_yaml_for_update = _yaml.parse_yaml  # a fifth of the time; only comments would get lost
    if plain:
        from dvc.cli import main

        sys.exit(main(["repro"]))
    from flows.graph.graph import Graph

    graph = Graph(root)
    for address in [node.address for node in graph.nodes] if only is None else [only]:
        graph.reproduce(address, say=lambda text: print(text, flush=True))


def _stage(executable: str, cmd: str, **options: Any) -> None:
    """In place of DVC's own: a fork instead of a shell and a new interpreter."""
    from dvc.stage.exceptions import StageCmdFailedError

    module, *arguments = shlex.split(cmd)[2:]
    pid = os.fork()
    if pid == 0:
        os.environ.update(options["env"])
        sys.argv = [module, *arguments]
        _end(lambda: runpy.run_module(module, run_name="__main__"), options["env"]["DVC_STAGE"].split(":")[-1])
    if code := os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise StageCmdFailedError(cmd, code)


def _end(work: Callable[[], object], me: str) -> None:
    """Do the work and end this process, whatever happens."""
    code = 1
    try:
        _watched.enter(me)
        work()
        code = 0
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException:  # noqa: BLE001  (the fork ends here whatever happened)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        _watched.leave()
        os._exit(code)
