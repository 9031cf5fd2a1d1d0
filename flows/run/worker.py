"""`python -m flows.run.worker ROOT TITLE`: addresses on stdin -> each brought up to date by DVC, in one process.

One line in: {"address": "train@film-reviews", "force": false}. Answers are marked lines on stderr, the stream that the
stage's own output goes to, so that whoever reads them has read what the stage said before. DVC stays loaded between
stages: to start it costs as much as a small stage. Leads a session of its own; when stdin ends or on SIGTERM it ends
what it runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import psutil

from core.errors import HeadraceError
from core.progress import DRIVER_VARIABLE
from flows.graph.graph import CommandFailed, Graph, on_command

INTERRUPT_S = 5.0  # for a stage to clean up after SIGINT before it is killed
UNWIND_S = 10.0  # for DVC to release its locks once the stage has ended


def answer_mark(word: str) -> str:
    """What a worker's answers begin with; word: the driver's, as in core.progress."""
    return f"@headrace-worker-{word} "


def main() -> None:
    """Serve the requests of one driver until its end of the pipe closes."""
    root, title = Path(sys.argv[1]), sys.argv[2]
    sys.argv = [title]  # DVC writes this into its lock, and others read there who holds it
    os.dup2(2, 1)  # a stage's stdout joins its stderr
    requests: queue.Queue[dict[str, Any] | None] = queue.Queue()
    stopping = threading.Event()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=_stop, args=(stopping, requests)).start())
    threading.Thread(target=_listen, args=(requests, stopping), daemon=True).start()
    graph = Graph(root)
    with contextlib.suppress(HeadraceError):  # the first stage meets it again, and reports it
        graph.load()
    while (request := requests.get()) is not None and not stopping.is_set():
        _answer(**_bring_up_to_date(graph, request["address"], force=request["force"]))


def _bring_up_to_date(graph: Graph, address: str, *, force: bool) -> dict[str, Any]:
    try:
        with on_command(lambda: _answer(started=address)):
            return {"result": graph.reproduce(address, force=force, say=lambda text: _answer(waiting=text))}
    except CommandFailed as failed:
        return {"result": "failed", "returncode": failed.returncode, "message": str(failed)}
    except HeadraceError as fault:
        return {
            "result": "failed", "code": fault.exit_code, "message": str(fault), "transient": fault.transient,
        }  # fmt: skip


def _answer(**facts: Any) -> None:
    # The newline ends whatever a killed stage left unfinished.
    os.write(2, f"\n{answer_mark(os.environ.get(DRIVER_VARIABLE, ''))}{json.dumps(facts)}\n".encode())


def _listen(requests: queue.Queue[dict[str, Any] | None], stopping: threading.Event) -> None:
    with os.fdopen(0, "rb", buffering=0) as stdin:  # unbuffered: a buffer's lock would block this process's exit
        for line in stdin:
            requests.put(json.loads(line))
    _stop(stopping, requests)


def _stop(stopping: threading.Event, requests: queue.Queue[dict[str, Any] | None]) -> None:
    """End the stage that runs, let DVC release its locks, then end this process whatever it does."""
    stopping.set()
    requests.put(None)
    end_children(INTERRUPT_S)
    threading.Event().wait(UNWIND_S)  # the main thread ends the process before
    os.killpg(0, signal.SIGKILL)


def end_children(grace_s: float) -> None:
    """Interrupt this process's descendants, and kill those that stay."""
    family = psutil.Process().children(recursive=True)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGINT)
    _, alive = psutil.wait_procs(family, timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


if __name__ == "__main__":
    main()
