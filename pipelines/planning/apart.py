"""Work in a fork of this process, whose memory is watched: it is ended before the machine has none left.

What it finds is told piece by piece, so that something is known of work that had to be ended too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Any

import psutil

from core.errors import HeadraceError

_LOOK_EVERY_S = 0.02
Tell = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Ended:
    """facts: all that was told. fault: in words, of a person's mistake. stopped: it took more memory than it might."""

    facts: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None
    exit_code: int = 0
    stopped: bool = False


def apart(work: Callable[[Tell], None], *, most_bytes: int) -> Ended:
    """Do the work in a fork. most_bytes: of its memory. This process must not have computed with torch before."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os._exit(_child(work, writing))
    os.close(writing)
    said, stopped = b"", False
    process = psutil.Process(pid)
    try:
        while True:
            if select([reading], [], [], _LOOK_EVERY_S)[0]:
                part = os.read(reading, 1 << 16)
                if not part:
                    break
                said += part
            with suppress(psutil.Error):
                if not stopped and process.memory_info().rss > most_bytes:
                    stopped = True
                    os.kill(pid, signal.SIGKILL)
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    facts: dict[str, Any] = {}
    for line in said.splitlines():
        with suppress(ValueError):  # the last one, where it was ended while it wrote
            facts |= json.loads(line)
    stopped = stopped or (code == -signal.SIGKILL and "ended" not in facts)
    fault = facts.pop("fault", None)
    return Ended(facts, fault, facts.pop("exit_code", 1) if fault else 0, stopped)


def _child(work: Callable[[Tell], None], writing: int) -> int:
    """The fork: what the kernel ends first where memory is short."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with os.fdopen(writing, "w") as line:

        def tell(facts: Mapping[str, Any]) -> None:
            line.write(json.dumps(facts) + "\n")
            line.flush()

        try:
            work(tell)
            tell({"ended": True})
        except HeadraceError as fault:
            tell({"fault": str(fault), "exit_code": fault.exit_code, "ended": True})
        except BaseException as error:  # noqa: BLE001  (a fork must not go on as its parent)
            traceback.print_exc()
            tell({"fault": f"{type(error).__name__}: {error}", "exit_code": 1, "ended": True})
    return 0
