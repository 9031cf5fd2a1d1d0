"""A worker's stages, forked from one process that has imported their libraries (flows/run/stage_template.py).

To start Python and import pandas, torch, MLflow and Great Expectations for each stage took most of a small run. What a
stage sees is what `python -m pipelines.STAGE` in DVC's hands sees: its code, folder, environment, output, process group
and signals. Any other command of a dvc.yaml is run by DVC, and so is a stage when the template died.
"""

from __future__ import annotations

import json
import re
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from flows.run.stage_template import READY

_STAGE = re.compile(r"python -m pipelines\.([a-z]+)((?: [\w@./-]+)*)")
_DATA = ("pandas", "pyarrow.dataset", "pyarrow.parquet", "pyarrow.compute")
_OF_STAGE: dict[str, tuple[str, ...]] = {  # what each stage imports whatever its task; those before a stage first
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
    """The process that stages are forked from, in this process's session and group. libraries: imported at once."""

    def __init__(self, libraries: Sequence[str]) -> None:
        self._ready = False
        self._line, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = Path(__file__).with_name("stage_template.py")
        with other:
            self.process = subprocess.Popen([sys.executable, "-P", str(program), *libraries], stdin=other.fileno())

    def serve_dvc(self) -> None:
        """Let DVC run the stages of this process through the template."""
        from dvc.stage import run

        by_itself = run._run

        def forked(executable: Any, command: str, **given: Any) -> None:
            match = _STAGE.fullmatch(command)
            if match is None or not self._serves(match[1]):
                by_itself(executable, command, **given)
                return
            code = self._run(
                f"pipelines.{match[1]}", shlex.split(match[2]), folder=str(given["cwd"]), env=dict(given["env"])
            )
            if code != 0:
                raise run.StageCmdFailedError(command, code)

        run._run = forked

    def _serves(self, stage: str) -> bool:
        """Whether a stage is better forked: one that needs little does not wait for the libraries of the others."""
        if self.process.poll() is not None:
            return False
        if not self._ready and select.select([self._line], [], [], 0)[0]:
            self._ready = self._line.recv(16) == READY
        return self._ready or not set(_OF_STAGE.get(stage, ())) <= set(_DATA)

    def end(self) -> None:
        """Nothing is left to do: its imports need not come to their end."""
        self.process.kill()
        self.process.wait()

    def _run(self, module: str, arguments: Sequence[str], *, folder: str, env: dict[str, str]) -> int:
        """The exit code of a stage; 1 when the template died over it."""
        message = json.dumps({"module": module, "arguments": arguments, "folder": folder, "env": env})
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None  # Ctrl-C is the stage's, as DVC has it
        try:
            socket.send_fds(self._line, [message.encode()], [1, 2])
            while (answer := self._line.recv(16)) == READY:
                self._ready = True
            return int(answer or b"1")
        finally:
            if before is not None:
                signal.signal(signal.SIGINT, before)
