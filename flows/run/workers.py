"""The driver's side of flows/run/worker.py: a pool of workers, what their stages say, time-outs, and their end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Literal, NoReturn

from core.atomic_files import make_folder
from core.errors import HeadraceError
from core.progress import DRIVER_VARIABLE, mark_of
from flows.graph.dvc import own_programs_first
from flows.run.worker import INTERRUPT_S, UNWIND_S, answer_mark

_TAIL_LINES = 12
_LONGEST_LINE = 64 * 1024
_LOOK_EVERY_S = 1.0
_CODES = (1, 2, 3)

Facts = dict[str, Any]


class StageFault(HeadraceError):
    """A stage ended badly; `code` is the exit code it asks for."""

    def __init__(self, message: str, *, code: int = 1, transient: bool = False) -> None:
        super().__init__(message)
        self.exit_code, self.transient = code, transient


class Cancelled(HeadraceError):
    """The run was ended by a person."""


@dataclass
class _Heard:
    """What a stage said while it ran."""

    path: Path
    word: str  # of this driver: lines that begin with it are the worker's and its stage's own
    on_facts: Callable[[Facts], None]
    log: IO[str] | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL_LINES))
    fault: Facts = field(default_factory=dict)

    def line(self, text: str) -> Facts | None:
        """Take one line; the worker's answer if it was that."""
        answer, mark = answer_mark(self.word), mark_of(self.word)
        if text.startswith(answer):
            facts: Facts = json.loads(text.removeprefix(answer))
            if "result" in facts:
                return facts
            self.on_facts(facts)
        elif text.startswith(mark):
            facts = json.loads(text.removeprefix(mark))
            if "fault" in facts:
                self.fault = facts
            self.on_facts(facts)
        elif text.strip():
            self.tail.append(text)
            if self.log is None:  # a stage that is not run keeps the log of its last run
                make_folder(self.path.parent)
                self.log = self.path.open("w", encoding="utf-8")
            self.log.write(text + "\n")
            self.log.flush()
        return None

    def close(self) -> None:
        if self.log is not None:
            self.log.close()


class Worker:
    """One `python -m flows.run.worker`. Not for two threads at once, except `end`.

    env: what its stages see beside this process's.
    """

    def __init__(self, root: Path, title: str, word: str, env: Mapping[str, str]) -> None:
        code = Path(__file__).parents[2]
        env = {
            **os.environ,
            **env,
            DRIVER_VARIABLE: word,
            "PATH": own_programs_first(os.environ),
            "PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(code)])),
            "PYTHONUNBUFFERED": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.run.worker", str(root), title],  # -P: this code, not the workspace's
            cwd=root, env=env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        self._rest = b""

    def run(self, address: str, *, force: bool, timeout_s: float, heard: _Heard) -> Literal["ran", "cached"]:
        """Bring one stage up to date. Raises StageFault."""
        deadline = time.monotonic() + timeout_s
        request = json.dumps({"address": address, "force": force}) + "\n"
        try:
            assert self.process.stdin is not None
            self.process.stdin.write(request.encode())
            self.process.stdin.flush()
            while (answer := self._next(heard, deadline)) is None:
                pass
        except (BrokenPipeError, ValueError):  # ValueError: `end` has closed the pipe
            answer = {"result": "failed", "message": "its worker process died"}
        if answer["result"] == "failed":
            _fail(address, answer, heard)
        result: Literal["ran", "cached"] = answer["result"]
        return result

    def _next(self, heard: _Heard, deadline: float) -> Facts | None:
        assert self.process.stderr is not None
        left = deadline - time.monotonic()
        if left <= 0:
            self.end()
            raise TimeoutError
        stream = self.process.stderr.fileno()
        if self.process.poll() is not None:  # killed alone: its stage may live, and keep the pipe open
            self.end()
        if not select.select([stream], [], [], min(left, _LOOK_EVERY_S))[0]:
            return None
        if not (read := os.read(stream, _LONGEST_LINE)):
            raise BrokenPipeError
        *lines, self._rest = (self._rest + read).split(b"\n")
        if len(self._rest) > _LONGEST_LINE:
            lines, self._rest = [*lines, self._rest], b""
        answers = [answer for line in lines if (answer := heard.line(line.decode(errors="replace").rstrip("\r")))]
        return answers[-1] if answers else None

    def dismiss(self) -> None:
        """Close its stdin: it ends the stage that it runs, if any, and goes."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def end(self) -> None:
        """Close its stdin, so that it ends its stage and goes; kill its whole session if it does not."""
        self.dismiss()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(INTERRUPT_S + UNWIND_S + 1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Crew:
    """At most `size` workers, started at once so that they load DVC while the driver loads Prefect."""

    def __init__(
        self, root: Path, logs: Path, *, size: int, title: str, env: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.root, self.logs, self.title, self.env, self._word = root, logs, title, env, secrets.token_hex(16)
        self.cancelled = threading.Event()
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._all = {Worker(root, title, self._word, env) for _ in range(size)}
        for worker in self._all:
            self._free.put(worker)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_all()

    def run(
        self, address: str, *, force: bool, timeout_s: float, on_facts: Callable[[Facts], None]
    ) -> Literal["ran", "cached"]:
        """Bring one stage up to date on the next free worker.

        Raises StageFault (with the stage's own message and code), or Cancelled after `cancel`.
        """
        worker = self._free.get()
        try:
            self._go_on()
            with contextlib.closing(_Heard(self.logs / f"{address}.log", self._word, on_facts)) as heard:
                result = worker.run(address, force=force, timeout_s=timeout_s, heard=heard)
            self._go_on()
            return result
        except TimeoutError:
            raise StageFault(
                f"{address} took more than {timeout_s:,.0f} s and was ended. Earlier outputs stand as they were. "
                "HEADRACE_STAGE_TIMEOUT_S allows more."
            ) from None
        except StageFault:
            self._go_on()  # its processes were ended on purpose: no fault of the stage
            raise
        finally:
            self._free.put(self._replaced(worker))

    def dismiss(self) -> None:
        """Let the workers go, without waiting for them: nothing is left to do."""
        for worker in self._all:
            worker.dismiss()

    def cancel(self) -> None:
        """End every stage that runs, with all its processes, and start no other. Idempotent."""
        self.cancelled.set()
        self._end_all()

    def _go_on(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled("cancelled")

    def _replaced(self, worker: Worker) -> Worker:
        if worker.process.poll() is None or self.cancelled.is_set():
            return worker
        worker.end()  # what it left in its session
        self._all.discard(worker)
        self._all.add(fresh := Worker(self.root, self.title, self._word, self.env))
        return fresh

    def _end_all(self) -> None:
        ending = [threading.Thread(target=worker.end) for worker in list(self._all)]
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join()


def _fail(address: str, answer: Facts, heard: _Heard) -> NoReturn:
    """Raise what the stage said about itself, else what DVC said about it, else how it ended."""
    if heard.fault:
        code, transient = int(heard.fault.get("code", 1)), bool(heard.fault.get("transient"))
        raise StageFault(heard.fault["fault"], code=code, transient=transient)
    if "returncode" not in answer:
        message = f"{address}: {answer['message']}" + ("" if "code" in answer else _last(heard))
        raise StageFault(message, code=answer.get("code", 1), transient=answer.get("transient", False))
    returncode = answer["returncode"]
    how = f"was ended by signal {-returncode}" if returncode < 0 else f"exited with {returncode}"
    raise StageFault(f"{address} {how}{_last(heard)}", code=returncode if returncode in _CODES else 1)


def _last(heard: _Heard) -> str:
    return f". All it wrote: {heard.path}" + "".join(f"\n  {line}" for line in heard.tail)
