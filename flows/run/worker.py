"""`python -m flows.run.worker ROOT TITLE LIBRARY...`: addresses on stdin -> each brought up to date by DVC.

One line in: {"address": "train@film-reviews", "force": false, "log": "/w/var/logs/stages/train@film-reviews.log"}. All
that the stage prints goes to its log; answers go to the driver's socket, behind what the stage told there before. DVC
stays loaded between stages, to start it costs as much as a small stage; the stages are forked from a process that has
imported the libraries (flows/run/forked_stages.py). Leads a session of its own; when stdin ends or
on SIGTERM it ends what it runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import psutil

from core.errors import HeadraceError
from core.process.garbage import collect_seldom
from core.progress import DRIVER_VARIABLE, send, tell
from flows.graph.dvc_faults import CommandFailed
from flows.graph.graph import Graph, on_command
from flows.run.forked_stages import Template
from flows.servers.local import end_all

INTERRUPT_S = 5.0  # for a stage to clean up after SIGINT before it is killed
UNWIND_S = 10.0  # for DVC to release its locks once the stage has ended


def main() -> None:
    """Serve the requests of one driver until its end of the pipe closes."""
    collect_seldom()
    root, title, libraries = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    template = Template(libraries) if libraries else None
    sys.argv = [title]  # DVC writes this into its lock, and others read there who holds it
    requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
    stopping = threading.Event()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
    end = partial(_stop, stopping, requests, template)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=end).start())
    threading.Thread(target=_listen, args=(requests, end), daemon=True).start()
    graph = Graph(root)
    if template is not None:
        template.serve_dvc()
    with contextlib.suppress(HeadraceError):  # the first stage meets it again, and reports it
        graph.open()
    while (request := requests.get()) is not None and not stopping.is_set():
        answer = _bring_up_to_date(graph, **request)
        if not stopping.is_set():
            send(answer)  # or this process ends, which its driver sees as well
    if template is not None:
        template.end()


def _bring_up_to_date(graph: Graph, address: str, *, force: bool, log: str) -> dict[str, Any]:
    with Path(log).open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    empty = cache(lambda: os.ftruncate(2, 0))  # once, however often it starts; a stage that is not run keeps its log

    def started() -> None:
        empty()
        tell(started=address)

    try:
        with on_command(started):
            return {"result": graph.reproduce(address, force=force, say=lambda text: tell(waiting=text))}
    except CommandFailed as failed:
        return {"result": "failed", "returncode": failed.returncode, "message": str(failed)}
    except HeadraceError as fault:
        return {
            "result": "failed", "code": fault.exit_code, "message": str(fault), "transient": fault.transient,
        }  # fmt: skip


def _listen(requests: queue.Queue[dict[str, Any] | None], end: Callable[[], None]) -> None:
    with os.fdopen(0, "rb", buffering=0) as stdin:  # unbuffered: a buffer's lock would block this process's exit
        for line in stdin:
            requests.put(json.loads(line))
    end()


def _stop(stopping: threading.Event, requests: queue.Queue[dict[str, Any] | None], template: Template | None) -> None:
    """End the stage that runs, let DVC release its locks, then end this process whatever it does."""
    stopping.set()
    with contextlib.suppress(OSError):  # nobody listens any more; a killed driver left them
        facts = Path(os.environ[DRIVER_VARIABLE])
        facts.unlink()
        facts.parent.rmdir()
    requests.put(None)
    own = template.pids if template is not None else ()  # they end with this process, when their stage has ended
    running = [each for each in psutil.Process().children(recursive=True) if each.pid not in own]
    end_all(running, signal.SIGINT, INTERRUPT_S)
    threading.Event().wait(UNWIND_S)  # the main thread ends the process before
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
