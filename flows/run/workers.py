"""The driver's side of flows/run/worker.py: a pool of workers, what their stages tell, time-outs, and their end."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn

from core.atomic_files import make_folder, tail
from core.errors import HeadraceError
from core.progress import DRIVER_VARIABLE
from flows.graph.dvc import own_code_last, own_programs_first
from flows.run.worker import INTERRUPT_S, UNWIND_S

_TAIL_LINES, _TAIL_BYTES = 12, 16 * 1024
_LARGEST = 1 << 20  # bytes of facts; the system lets nobody send as many
_LONGEST_FOLDER = 60  # a socket's path may have 107 bytes
_LOOK_EVERY_S = 0.2
_CODES = (1, 2, 3)

Facts = dict[str, Any]


class StageFault(HeadraceError):
    """A stage ended badly; `code` is the exit code it asks for."""

    def __init__(self, message: str, *, code: int = 1, transient: bool = False) -> None:
        super().__init__(message)
        self.exit_code, self.transient = code, transient


class Cancelled(HeadraceError):
    """The run was ended by a person."""


class Worker:
    """One `python -m flows.run.worker`. Not for two threads at once, except `end`.

    env: what its stages see beside this process's. libraries: what they share, imported once.
    """

    def __init__(self, root: Path, title: str, env: Mapping[str, str], libraries: Sequence[str] = ()) -> None:
        place = tempfile.gettempdir() if len(tempfile.gettempdir()) < _LONGEST_FOLDER else "/tmp"  # noqa: S108
        # Only this user may enter such a folder, and only this worker's stages know its name.
        self._folder = tempfile.mkdtemp(prefix="headrace-", dir=place)
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.bind(f"{self._folder}/facts")
        env = {
            **os.environ,
            **env,
            DRIVER_VARIABLE: self._line.getsockname(),
            "PATH": own_programs_first(os.environ),
            "PYTHONPATH": own_code_last(os.environ),
            "PYTHONUNBUFFERED": "1",
        }
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  what it prints before it begins a stage
        self.process = subprocess.Popen(
            # -P: this code, not the workspace's
            [sys.executable, "-P", "-m", "flows.run.worker", str(root), title, *libraries],
            cwd=root, env=env, stdin=subprocess.PIPE, stdout=self._words, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def run(
        self, address: str, *, force: bool, timeout_s: float, log: Path, on_facts: Callable[[Facts], None]
    ) -> Literal["ran", "cached"]:
        """Bring one stage up to date. Raises StageFault, and TimeoutError when it was ended for its time."""
        deadline = time.monotonic() + timeout_s
        request = json.dumps({"address": address, "force": force, "log": str(log)}) + "\n"
        said: Facts = {}
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(request.encode())
            self.process.stdin.flush()
            while "result" not in (facts := self._next(deadline)):
                said |= facts
                on_facts(facts)
        except (BrokenPipeError, ValueError):  # ValueError: `end` has closed the pipe
            facts = {"result": "failed", "message": "its worker process died"}
            if "started" not in said:
                self._words.seek(0)
                with log.open("ab") as file:
                    file.write(self._words.read())
        if facts["result"] == "failed":
            _fail(address, facts, said, log)
        result: Literal["ran", "cached"] = facts["result"]
        return result

    def _next(self, deadline: float) -> Facts:
        """What the stage or the worker said next. Raises BrokenPipeError when they are gone, and TimeoutError."""
        while (left := deadline - time.monotonic()) > 0:
            if gone := self.process.poll() is not None:
                self.end()  # killed alone: its stage may live, and speak on
            self._line.settimeout(min(left, _LOOK_EVERY_S))
            try:
                facts: Facts = json.loads(self._line.recv(_LARGEST))
                return facts
            except TimeoutError:
                if gone:
                    raise BrokenPipeError from None
        self.end()
        raise TimeoutError

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
        shutil.rmtree(self._folder, ignore_errors=True)


class Crew:
    """At most `size` workers, started at once so that they load DVC while the driver loads Prefect."""

    def __init__(
        self,
        root: Path,
        logs: Path,
        *,
        size: int,
        title: str,
        env: Mapping[str, str] | None = None,
        libraries: Sequence[str] = (),
    ) -> None:
        self.root, self.logs, self.title, self.env, self.libraries = root, logs, title, env or {}, libraries
        make_folder(logs)
        self.cancelled = threading.Event()
        self._free: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        self._all = {Worker(root, title, self.env, libraries) for _ in range(size)}
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
            log = self.logs / f"{address}.log"
            result = worker.run(address, force=force, timeout_s=timeout_s, log=log, on_facts=on_facts)
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

    @contextmanager
    def ending_on_signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM cancel, and the driver then ends by itself; a second Ctrl-C is Python's own.

        Only a main thread can listen; elsewhere signals stay as they are.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def end(number: int, _: object) -> None:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            threading.Thread(target=self.cancel).start()

        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _go_on(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled("cancelled")

    def _replaced(self, worker: Worker) -> Worker:
        if worker.process.poll() is None or self.cancelled.is_set():
            return worker
        worker.end()  # what it left in its session
        self._all.discard(worker)
        self._all.add(fresh := Worker(self.root, self.title, self.env, self.libraries))
        return fresh

    def _end_all(self) -> None:
        ending = [threading.Thread(target=worker.end) for worker in list(self._all)]
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join()


def _fail(address: str, answer: Facts, said: Facts, log: Path) -> NoReturn:
    """Raise what the stage said about itself, else what DVC said about it, else how it ended."""
    if "fault" in said:
        raise StageFault(said["fault"], code=said["code"], transient=said["transient"])
    if "returncode" not in answer:
        message = f"{address}: {answer['message']}" + ("" if "code" in answer else _last(log))
        raise StageFault(message, code=answer.get("code", 1), transient=answer.get("transient", False))
    returncode = answer["returncode"]
    how = f"was ended by signal {-returncode}" if returncode < 0 else f"exited with {returncode}"
    raise StageFault(f"{address} {how}{_last(log)}", code=returncode if returncode in _CODES else 1)


def _last(log: Path) -> str:
    lines = [line for line in tail(log, _TAIL_BYTES).split("\n") if line.strip()]
    return f". All it wrote: {log}" + "".join(f"\n  {line}" for line in lines[-_TAIL_LINES:])
