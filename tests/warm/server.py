"""`python -P tests/warm/server.py SOCKET`: imports what commands and stages import, then forks each that is asked for.

Prints `ready` when it listens, and ends when the process that started the suite is gone (see tests/conftest.py).
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import importlib.abc
import importlib.machinery
import json
import logging
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import psutil

_LIBRARIES = (
    "torch", "accelerate", "transformers.optimization", "transformers.models.auto",
    "transformers.models.bert.modeling_bert", "transformers.models.resnet.modeling_resnet",
    "safetensors.torch", "peft", "tokenizers", "datasets", "mlflow",
    "mlflow.pyfunc", "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store", "great_expectations", "pandas", "pyarrow.dataset",
    "pyarrow.parquet", "sklearn.linear_model", "sklearn.feature_extraction.text", "sklearn.metrics", "scipy.stats",
    "matplotlib.figure", "matplotlib.backends.backend_agg", "PIL.Image", "ruamel.yaml", "jinja2", "pydantic", "rich",
    "fsspec.implementations.memory", "qdrant_client", "qdrant_edge", "typer", "fastapi", "uvicorn",
    "dvc.cachemgr", "dvc.cli.parser", "dvc.commands.repro", "dvc.data_cloud", "dvc.lock", "dvc.parsing", "dvc.repo",
    "dvc.repo.artifacts", "dvc.repo.datasets", "dvc.repo.graph", "dvc.repo.index", "dvc.repo.metrics",
    "dvc.repo.open_repo", "dvc.repo.params", "dvc.repo.plots", "dvc.repo.reproduce", "dvc.repo.stage",
    "dvc.repo.status", "dvc.repo.trie", "dvc.rwlock", "dvc.scm", "dvc.utils.strictyaml", "dvc_data.hashfile.db.local",
    "dvc_data.hashfile.status", "dulwich.index", "dulwich.worktree", "networkx", "griffe", "websockets", "httpx",
    "anyio._backends._asyncio", "cloudpickle", "coolname", "cronsim", "graphlib", "opentelemetry.trace",
    "alembic.command", "sqlalchemy.ext.asyncio", "aiosqlite",
)  # fmt: skip
_PREFECT = (
    "prefect", "prefect.artifacts", "prefect.automations", "prefect.client.schemas.filters",
    "prefect.client.schemas.sorting", "prefect.events.actions", "prefect.events.schemas.automations",
    "prefect.events.worker", "prefect.flow_engine", "prefect.schedules", "prefect.task_engine", "prefect.task_runners",
    "prefect.types.entrypoint",
)  # fmt: skip
_QUIET = {
    "GX_ANALYTICS_ENABLED": "false", "HF_HUB_DISABLE_TELEMETRY": "1", "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_WAIT_POLICY": "PASSIVE", "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "MPLBACKEND": "agg",
}  # fmt: skip
_COPY_STORES = runpy.run_path(str(Path(__file__).with_name("stores.py")))["copy_stores"]  # no path of ours stays
_MOST = 1 << 18  # bytes of a call


@dataclass(frozen=True)
class Call:
    """What an interpreter was started for; call: `[-P] -m MODULE ...`, `-P FILE ...` or `-c CODE ...`."""

    call: list[str]
    env: dict[str, str]
    folder: str
    streams: list[int]
    python: str  # what stages start another interpreter by: forked as well

    def become(self) -> None:
        """Make of this fork the process that was asked for, in a session of its own, and do what it does."""
        os.setsid()
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
            os.close(stream)
        encoding = self.env.get("PYTHONIOENCODING", "utf-8")
        (
            sys.stdin,
            sys.stdout,
            sys.stderr,
        ) = (  # anew: what the own ones were opened on is remembered
            open(number, mode, encoding=encoding, errors=stream.errors, buffering=1, closefd=False)  # noqa: SIM115
            for number, mode, stream in ((0, "r", sys.stdin), (1, "w", sys.stdout), (2, "w", sys.stderr))
        )
        os.environ.clear()
        os.environ.update(self.env)
        os.chdir(self.folder)
        safe, call = self.call[0] == "-P", self.call[self.call[0] == "-P" :]
        how, what, *arguments = call if call[0] in ("-m", "-c") else ("", *call)
        paths = self.env.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = filter(None, ["" if safe else self.folder, *paths])
        sys.executable, sys.argv = self.python, [how if how == "-c" else what, *arguments]
        if self.env.get("PYTHONUNBUFFERED"):
            sys.stdout.reconfigure(write_through=True)  # type: ignore[union-attr]
        importlib.invalidate_caches()
        if not what.startswith("tests.faults."):  # there the migrations' own writes are killed and filled up too
            _COPY_STORES(Path(self.python).parent)
        if how == "-m":
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        elif how == "-c":
            exec(compile(what, "<string>", "exec", dont_inherit=True), {"__name__": "__main__"})
        else:
            runpy.run_path(what, run_name="__main__")


class Aside(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Prefect reads the environment when it is first imported: here it is imported, and not seen until a fork does."""

    def __init__(self) -> None:
        known = [each for each in logging.root.manager.loggerDict.values() if isinstance(each, logging.Logger)]
        before = [(each, each.level, each.propagate, each.handlers[:]) for each in (logging.root, *known)]
        for name in _PREFECT:
            importlib.import_module(name)
        for each, level, propagate, handlers in before:  # its import sets up everybody's logs
            each.level, each.propagate, each.handlers = level, propagate, handlers
        own = [name for name in sys.modules if name.partition(".")[0] == "prefect"]
        self._modules = {name: sys.modules.pop(name) for name in own}
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name == "prefect" else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return self._modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        sys.meta_path.remove(self)
        sys.modules.update(self._modules)
        sys.modules["prefect.context"].refresh_global_settings_context()
        logs = sys.modules["prefect.logging.configuration"]
        logs.PROCESS_LOGGING_CONFIG.clear()
        logs.setup_logging()


def serve(listener: socket.socket, suite: psutil.Process, python: str) -> Call | None:
    """Fork for each call. Returns in each fork, with its call; in the server, None when the suite is gone."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    stages: dict[int, tuple[int, socket.socket]] = {}  # by the descriptor that tells of its end
    while suite.is_running() and suite.status() != psutil.STATUS_ZOMBIE:
        for key, _ in selector.select(timeout=1.0):
            if key.fileobj is listener:
                line, _ = listener.accept()
                message, streams, _, _ = socket.recv_fds(line, _MOST, 3)
                if not message:
                    line.close()
                    continue
                call = Call(**json.loads(message), streams=streams, python=python)
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    for ended, (_, other) in stages.items():
                        os.close(ended)
                        other.close()
                    line.close()
                    return call
                for stream in streams:
                    os.close(stream)
                ended = os.pidfd_open(pid)
                stages[ended] = (pid, line)
                selector.register(ended, selectors.EVENT_READ)
                selector.register(line, selectors.EVENT_READ, data=pid)
            elif key.data is not None:
                assert isinstance(key.fileobj, socket.socket)
                if key.fileobj.fileno() < 0:  # its process ended in this same round
                    continue
                with contextlib.suppress(ProcessLookupError):
                    if number := key.fileobj.recv(16):
                        os.kill(key.data, int(number))
                    else:  # whoever asked is gone
                        selector.unregister(key.fileobj)
                        os.killpg(key.data, signal.SIGKILL)
            else:
                pid, line = stages.pop(key.fd)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                selector.unregister(key.fd)
                os.close(key.fd)
                with contextlib.suppress(KeyError):
                    selector.unregister(line)
                with contextlib.suppress(OSError):  # whoever asked is gone
                    line.send(str(code if code >= 0 else 128 - code).encode())
                line.close()
    return None


def main() -> None:
    os.environ |= _QUIET
    suite = psutil.Process(int(os.environ["HEADRACE_TEST_SUITE"]))
    for library in _LIBRARIES:
        importlib.import_module(library)
    Aside()
    importlib.import_module("mlflow.utils.requirements_utils")._init_modules_to_packages_map()  # 4 s a registration
    assert threading.active_count() == 1, f"a fork would miss {threading.enumerate()}"
    place = Path(sys.argv[1])
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(place))
        listener.listen(64)
        gc.collect()
        gc.freeze()
        _forget_ends()
        print("ready", flush=True)
        call = serve(listener, suite, str(place.with_name("python")))
    if call is None:
        place.unlink(missing_ok=True)
        return
    _end(call.become)


def _forget_ends() -> None:
    """Nothing that the libraries would undo at an end was done: torch alone takes 0.1 s for it, in each fork."""
    atexit._clear()
    for info in weakref.finalize._registry.values():  # type: ignore[attr-defined]
        info.atexit = False
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    atexit.register(logging.shutdown)


def _end(work: Callable[[], None]) -> NoReturn:
    """Do the work and end as an interpreter does, but for taking apart what was imported: 0.7 s that prove nothing."""
    code = 0
    try:
        work()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
        if isinstance(done.code, str):
            print(done.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001  (as the interpreter does with whatever nobody caught)
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
