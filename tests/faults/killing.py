"""A piece of work in a process of its own, killed (SIGKILL) at a chosen call of a chosen function.

Forked from a process that has imported everything and computed nothing, so that a hundred kills take a minute.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Kill:
    """Dies when `target` ("module:Class.attribute" or "module:function") is called for the `call`-th time."""

    target: str
    call: int

    def arm(self) -> None:
        """Put the trap into this process."""
        module, _, path = self.target.partition(":")
        *owners, name = path.split(".")
        owner: Any = functools.reduce(getattr, owners, importlib.import_module(module))
        real = getattr(owner, name)
        calls = 0

        @functools.wraps(real)
        def trap(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == self.call:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        setattr(owner, name, trap)


def attempt(work: Callable[[], object], *, log: Path, kill: Kill | None = None) -> int:
    """Do the work in a forked process; its exit code, negative for a signal. Its output is appended to `log`."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(file, 1)
            os.dup2(file, 2)
            if kill is not None:
                kill.arm()
            work()
            code = 0
        except BaseException:  # noqa: BLE001  (the fork ends here whatever happened)
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
