"""`headrace index NAME`, started for callers of the API, each as a process of its own: where it is, what came of it.

At most one at a time of an index, and at most one more behind it. They end with this server.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Literal

from core.atomic_files import make_folder, tail
from core.errors import GATE_REFUSED, BadRequest, HeadraceError
from core.terminal import plain
from serving.http.problems import later

AT_ONCE = 2  # of all indexes: each takes every core, and one that waits for another run of its index holds up no other
END_S = 30.0  # for stages to end and DVC to release its locks
_TAIL_BYTES = 16 * 2**10
_LONGEST = 4000  # characters of a reason
# What the command writes of a stage: "> embed@guide: why it runs", then "  embed@guide: how far it is".
_OF_A_STAGE = re.compile(r"(?P<mark>> |  )(?P<stage>\w+)@\S+?(?:: (?P<said>.*))?")

State = Literal["none", "waiting", "running", "done", "refused", "failed"]
# Starts `headrace index NAME --json` with these as its stdout and stderr.
Start = Callable[[str, IO[bytes], IO[bytes]], subprocess.Popen[bytes]]


@dataclass(frozen=True)
class Update:
    """again: one more is asked for and begins when this one ends. release, counts: of one that is done. reason: why
    another is not, in the command's own words."""

    state: State = "none"
    again: bool = False
    began: datetime | None = None
    ended: datetime | None = None
    stage: str | None = None
    progress: str | None = None
    release: str | None = None
    documents: int | None = None
    unread: int | None = None
    passages: int | None = None
    reason: str | None = None


class Updates:
    """Safe to call from several threads. logs: a folder for what each said last."""

    def __init__(self, start: Start, logs: Path, say: Callable[[str], None]) -> None:
        self._start, self._logs, self._say = start, logs, say
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="update")
        self._lock = threading.Lock()
        self._known: dict[str, Update] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._is_ending = False

    def ask(self, index: str) -> Update:
        """Let an update begin that has not begun yet, so that it sees all that was written before."""
        with self._lock:
            if self._is_ending:
                raise later("this server is about to end.")
            known = self._known.get(index, Update())
            if known.state == "running":
                self._known[index] = replace(known, again=True)
            elif known.state != "waiting":
                self._wait(index)
        return self.standing(index)

    def standing(self, index: str) -> Update:
        with self._lock:
            known = self._known.get(index, Update())
        if known.state != "running":
            return known
        stage, progress = _reached(_last_lines(self._log(index)))
        return replace(known, stage=stage, progress=progress)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """When the block ends, so do those that run, as by Ctrl-C; those that wait are dropped."""
        try:
            yield
        finally:
            with self._lock:
                self._is_ending = True
                running = list(self._processes.values())
            for process in running:
                process.terminate()
            for process in running:
                try:
                    process.wait(END_S)
                except subprocess.TimeoutExpired:
                    process.kill()
            self._pool.shutdown(cancel_futures=True)

    def _wait(self, index: str) -> None:
        self._known[index] = Update("waiting")
        self._pool.submit(self._bring, index)

    def _bring(self, index: str) -> None:
        began = datetime.now(UTC)
        with TemporaryFile() as out:
            try:
                code = self._run(index, began, out)
            except (OSError, HeadraceError) as fault:
                came = Update("failed", reason=f"it could not be started: {fault}")
            else:
                out.seek(0)
                came = _came_of(index, code, out.read(), _last_lines(self._log(index)))
        with self._lock:
            again = self._known[index].again
            self._known[index] = replace(came, began=began, ended=datetime.now(UTC))
            if self._is_ending:
                return
            if again:
                self._wait(index)
        self._say(f"{index}, brought up to date over HTTP: {came.state}{f': {came.reason}' if came.reason else ''}")

    def _run(self, index: str, began: datetime, out: IO[bytes]) -> int:
        make_folder(self._logs)
        with self._log(index).open("wb") as log:
            with self._lock:
                if self._is_ending:
                    return -signal.SIGTERM
                self._known[index] = Update("running", began=began)
                process = self._processes[index] = self._start(index, out, log)
            try:
                return process.wait()
            finally:
                with self._lock:
                    del self._processes[index]

    def _log(self, index: str) -> Path:
        return self._logs / f"{index}.log"


def _last_lines(log: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return plain(tail(log, _TAIL_BYTES)).splitlines()
    return []


def _reached(lines: list[str]) -> tuple[str | None, str | None]:
    """The stage that began last, and how far it said that it is."""
    stage = progress = None
    for line in lines:
        if found := _OF_A_STAGE.fullmatch(line):
            stage, progress = found["stage"], found["said"] if found["mark"] == "  " else None
    return stage, progress


def _came_of(index: str, code: int, document: bytes, lines: list[str]) -> Update:
    """What the command came to. document: what `--json` printed. lines: the last of what it said besides."""
    said: dict[str, Any] = {}
    with suppress(ValueError):
        said = json.loads(document)
    if code == 0:
        receipt = next((each["published"] for each in said.get("results", ()) if each["name"] == index), None) or {}
        return Update(
            "done", release=receipt.get("version"), documents=receipt.get("documents"),
            unread=receipt.get("unread"), passages=receipt.get("points"),
        )  # fmt: skip
    state: State = "refused" if code in (BadRequest.exit_code, GATE_REFUSED) else "failed"
    return Update(state, reason=plain(_reason(index, code, said, lines))[:_LONGEST])


def _reason(index: str, code: int, said: dict[str, Any], lines: list[str]) -> str:
    if "error" in said:
        return str(said["error"]["message"])
    stages = [f"{each['address']}: {each['message']}" for each in said.get("stages", ()) if each["state"] == "failed"]
    gates = said.get("refused", {}).get(index, ())
    if stages or gates:
        return "; ".join(stages or gates)
    how = f"it was ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"
    return f"{how}. {lines[-1]}" if lines else f"{how}."
