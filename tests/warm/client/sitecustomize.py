"""Read by each Python that starts with this folder in PYTHONPATH: a command or stage goes to tests/warm/server.py."""

import os
import sys

_FOLDER = os.environ.get("HEADRACE_TEST_WARM")
_CALL = sys.orig_argv[1:]
_PROGRAMS = ("/registry/version/rehearsal.py", "/flows/run/stage_template.py")


def _is_shared(call: list[str]) -> bool:
    """A command, a stage, a search for faults, a run's worker or its template, a packed model's trial, a few lines."""
    if call[:1] == ["-m"]:
        return call[1] in ("flows.cli", "dvc", "prefect.engine") or call[1].startswith(("pipelines.", "tests.faults."))
    if call[:1] == ["-P"]:
        return call[1:3] == ["-m", "flows.run.worker"] or call[1].endswith(_PROGRAMS)
    return call[:1] == ["-c"]


def _hand_over(folder: str, call: list[str]) -> int:
    """Let the server run it with our arguments, environment, folder and streams; its exit code.

    It gets our signals. When this process is killed the server sees its end of the line closed, and kills the stage.
    """
    import json
    import signal
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(os.path.join(folder, "socket"))  # noqa: PTH118  (pathlib would be imported for it)
        here = os.getcwd()  # noqa: PTH109
        message = json.dumps({"call": call, "env": dict(os.environ), "folder": here})
        socket.send_fds(line, [message.encode()], [0, 1, 2])
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _: line.send(str(number).encode()))
        return int(line.recv(16) or b"1")


if _FOLDER and _is_shared(_CALL):
    os._exit(_hand_over(_FOLDER, _CALL))
