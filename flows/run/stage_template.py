"""`python -P stage_template.py FIRST... -- THEN...`: imports what stages share, and forks them when asked.

Two processes: this one imports the libraries that every stage wants, and its fork, which goes on with the large ones of
some stages. Each has a socket to the worker (flows/run/forked_stages.py): this one's is stdin, and its fork's comes in
the first message there. A request is a JSON object, with the descriptors of the stage's stdout and stderr beside it;
the answer is the stage's exit code, negative for a signal. Requests come first, and imports go on while a stage runs.
Nothing of this project is imported here: each stage imports its own code anew, as `python -m` does. Both end when the
worker does, and then the stage sees that its driver is gone.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import types
from collections.abc import Sequence
from typing import Any, NoReturn

_LARGEST = 1 << 18  # bytes of a request
# A library -> what it imports and seldom needs: for single expectations, and for S3, Great Expectations loads what
# takes 1 of the 2.8 s of CPU of its own import.
_SELDOM_NEEDED = {"great_expectations": ("scipy.stats", "altair", "boto3")}
# What stages set before they import these libraries, which read it once.
_READ_AT_IMPORT = {
    "GX_ANALYTICS_ENABLED": "false", "HF_HUB_DISABLE_TELEMETRY": "1", "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet", "MPLBACKEND": "agg", "OMP_WAIT_POLICY": "PASSIVE",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # a GPU is first touched by a stage
}  # fmt: skip


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for stages
    for name, value in _READ_AT_IMPORT.items():
        os.environ.setdefault(name, value)
    gc.disable()
    own, end = socket.socket(fileno=os.dup(0)), sys.argv.index("--")
    first, then = sys.argv[1:end], sys.argv[end + 1 :]
    for library in first:
        _import(library)
    _, (other, *_), _, _ = socket.recv_fds(own, 1, 1)
    second = os.fork() if then else None  # the first child, before any stage
    if second == 0:
        own.close()
        _serve(socket.socket(fileno=other), then)
    os.close(other)
    _serve(own, [], second)


def _serve(line: socket.socket, libraries: list[str], beside: int | None = None) -> NoReturn:
    """Fork what is asked for, one stage at a time, and import these libraries in between.

    beside: a process that ends when this one is to end; what it cost is counted with this one's.
    """
    running = 0
    while True:
        watched: list[Any] = [line, running] if running else [line]
        ready, _, _ = select.select(watched, [], [], 0 if libraries else None)
        if line in ready:
            message, streams, _, _ = socket.recv_fds(line, _LARGEST, 2)
            if not message:  # the worker is gone
                if beside is not None:
                    os.waitpid(beside, 0)
                os._exit(0)
            gc.freeze()  # so that a stage's search for garbage copies no page of what is shared
            pid = os.fork()
            if pid == 0:
                line.close()
                _become(json.loads(message), streams)
            for stream in streams:
                os.close(stream)
            running = os.pidfd_open(pid)
        elif running in ready:
            os.close(running)
            running = 0
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with contextlib.suppress(OSError):
                line.send(str(code).encode())
        elif libraries:
            _import(libraries.pop(0))


def _import(library: str) -> None:
    absent = {name: _Deferred(name) for name in _SELDOM_NEEDED.get(library, ()) if name not in sys.modules}
    sys.modules.update(absent)
    with contextlib.suppress(ImportError):  # an extra: the stage that needs it says so
        importlib.import_module(library)
    for name in absent:
        if sys.modules.get(name) is absent[name]:
            del sys.modules[name]


class _Deferred(types.ModuleType):
    """Stands for a module among what imports it meanwhile, and loads it when something of it is asked for."""

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), attribute)


def _become(request: dict[str, Any], streams: Sequence[int]) -> NoReturn:
    """Make of this fork what `python -m MODULE ARGUMENT...` is, and end as that does."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, stream in enumerate((nothing, *streams)):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path.insert(0, request["folder"])
    sys.argv = ["", *request["arguments"]]
    importlib.invalidate_caches()
    gc.enable()
    code = 0
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException as error:  # noqa: BLE001  (as the interpreter does with whatever nobody caught)
        sys.excepthook(type(error), error, error.__traceback__)
        code = 128 + signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for output in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            output.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
