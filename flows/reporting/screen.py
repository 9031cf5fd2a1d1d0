"""What a person sees of a run, on stderr: a line when a stage starts and ends, live progress between."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from core.terminal import drawn_on, guard, plain
from flows.graph.plan import StageOutcome

_PLAIN_EVERY_S = 10.0
_MARKS = {"ran": "[green]✓[/]", "cached": "[dim]·[/]", "failed": "[red]✗[/]", "skipped": "-", "cancelled": "-"}


class Screen:
    """Safe to call from several threads."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import Progress, TextColumn, TimeElapsedColumn

        self._console = Console(file=drawn_on(), quiet=quiet, highlight=False, soft_wrap=True)
        self._live = sys.stderr.isatty() and not quiet
        columns = (TextColumn("  {task.description}"), TimeElapsedColumn())
        self._bars = Progress(*columns, console=self._console, transient=True, disable=not self._live)
        self._rows: dict[str, Any] = {}
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Screen:
        self._bars.start()
        guard()  # what is printed beside running bars goes through streams of its own
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """One line; printed as it is, less what a terminal obeys."""
        self._console.print(plain(text), markup=False)

    def started(self, address: str, why: str) -> None:
        with self._lock:
            self._told[address] = time.monotonic()
            if self._live:
                self._rows[address] = self._bars.add_task(address, total=None)
        self.say(f"> {address}{f': {why}' if why else ''}")

    def progress(self, address: str, text: str) -> None:
        """How far a stage is: its row on a terminal, a line now and then elsewhere."""
        from rich.markup import escape

        with self._lock:
            if address in self._rows:
                self._bars.update(self._rows[address], description=escape(plain(f"{address}: {text}")))
                return
            now = time.monotonic()
            if now - self._told.get(address, 0.0) < _PLAIN_EVERY_S:
                return
            self._told[address] = now
        self.say(f"  {address}: {text}")

    def ended(self, stage: StageOutcome) -> None:
        with self._lock:
            if stage.address in self._rows:
                self._bars.remove_task(self._rows.pop(stage.address))
        took = f" {stage.seconds:,.1f} s" if stage.state in ("ran", "failed") else ""
        words = {"ran": "done in", "failed": f"failed (exit {stage.code}) after"}.get(stage.state, stage.state)
        self._console.print(f"{_MARKS[stage.state]} {stage.address} {words}{took}")
        if stage.message and stage.state in ("failed", "skipped"):
            self.say("\n".join(f"  {line}" for line in stage.message.splitlines()))
