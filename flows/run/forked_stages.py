"""A worker's stages, forked from processes that have imported their libraries (flows/run/stage_template.py).

To start Python and import pandas, torch, MLflow and Great Expectations for each stage took most of a small run. What a
stage sees is what `python -m pipelines.STAGE` in DVC's hands sees: its code, folder, environment, output, process group
and signals. Any other command of a dvc.yaml is run by DVC, and so is a stage when the template died.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

_STAGE = re.compile(r"python -m pipelines\.([a-z]+)((?: [\w@./-]+)*)")
_SETTINGS = (
    "pydantic.main",
    "pydantic.json_schema",
    "pydantic.functional_validators",
    "ruamel.yaml",
    "argparse",
    "hashlib",
)
_DATA = (*_SETTINGS, "pandas", "pyarrow.dataset", "pyarrow.parquet", "pyarrow.compute", "regex")
_OF_STAGE: dict[str, tuple[str, ...]] = {  # what each stage imports whatever its task; those before a stage first
    "settings": _SETTINGS,
    "collect": _DATA,
    "documents": _DATA,
    "validate": (*_DATA, "great_expectations"),
    "screen": (*_DATA, "great_expectations"),
    "preprocess": (*_DATA, "tokenizers"),
    "train": (*_DATA, "torch", "safetensors.torch", "transformers.models.auto", "mlflow.tracking",
              "mlflow.store.tracking.sqlalchemy_store"),
    "evaluate": (*_DATA, "torch", "safetensors.torch", "sklearn.linear_model", "sklearn.feature_extraction.text",
                 "matplotlib.figure", "matplotlib.backends.backend_agg"),
    "register": (*_DATA, "mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store",
                 "mlflow.store.model_registry.sqlalchemy_store"),
    "chunk": (*_DATA, "tokenizers"),
    "embed": (*_DATA, "tokenizers", "openvino"),
    "publish": (*_DATA, "tokenizers", "openvino", "qdrant_edge"),
}  # fmt: skip


def libraries_of(stages: Iterable[str]) -> list[str]:
    """What these stages import, in the order in which they come to it."""
    return list(dict.fromkeys(library for stage in stages for library in _OF_STAGE.get(stage, ())))


class Template:
    """The processes that stages are forked from, in this process's session and group. libraries: imported at once."""

    def __init__(self, libraries: Sequence[str]) -> None:
        first, then = ([each for each in libraries if (each in _DATA) is shared] for shared in (True, False))
        self._large = bool(then)  # whether there is a second process
        self._light, own = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._heavy, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = Path(__file__).with_name("stage_template.py")
        with own, other:
            command = [sys.executable, "-P", str(program), *first, "--", *then]
            self._process = subprocess.Popen(command, stdin=own.fileno())
            socket.send_fds(self._light, [b"-"], [other.fileno()])

    @property
    def pids(self) -> set[int]:
        """Its processes, which end with this one."""
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._process.pid).children() if self._large else []
            first = sorted(children, key=lambda child: (child.create_time(), child.pid))[:1]
            return {self._process.pid, *(child.pid for child in first)}
        return set()

    def serve_dvc(self) -> None:
        """Let DVC run the stages of this process through the template."""
        from dvc.stage import run

        by_itself = run._run

        def forked(executable: Any, command: str, **given: Any) -> None:
            match = _STAGE.fullmatch(command)
            code = match and self._run(
                f"pipelines.{match[1]}", shlex.split(match[2]), folder=str(given["cwd"]), env=dict(given["env"]),
                line=self._light if set(_OF_STAGE.get(match[1], ())) <= set(_DATA) else self._heavy,
            )  # fmt: skip
            if code is None:
                by_itself(executable, command, **given)
            elif code != 0:
                raise run.StageCmdFailedError(command, code)

        run._run = forked

    def end(self) -> None:
        """Nothing is left to do: its imports need not come to their end."""
        for each in self.pids - {self._process.pid}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        self._light.close()
        self._heavy.close()
        self._process.wait()

    def _run(
        self, module: str, arguments: Sequence[str], *, folder: str, env: dict[str, str], line: socket.socket
    ) -> int | None:
        """The exit code of a stage; 1 when the template died over it, None when it was dead before."""
        message = json.dumps({"module": module, "arguments": arguments, "folder": folder, "env": env})
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None  # Ctrl-C is the stage's, as DVC has it
        try:
            try:
                socket.send_fds(line, [message.encode()], [1, 2])
            except ConnectionError:
                return None
            with contextlib.suppress(ConnectionError):
                return int(line.recv(16) or b"1")
            return 1
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)
