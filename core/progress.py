"""How a stage says how far it is: a rich bar on a terminal, plain lines elsewhere, facts in a socket for a driver."""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from core.terminal import drawn_on, guard, plain

DRIVER_VARIABLE = "HEADRACE_DRIVER"  # set by flows/: the socket in which the driver hears its stages
_PLAIN_EVERY_S = 10.0
_TOLD_EVERY_S = 0.5
_RATE_OVER_S = 60.0
_WHOLE = 10  # from here on a rate has no decimal

T = TypeVar("T")


def driven() -> bool:
    return bool(os.environ.get(DRIVER_VARIABLE))


def tell(**facts: Any) -> None:
    """Send facts to the driver, if there is one. Work goes on when it is gone; progress does not wait for it."""
    if driven():
        with contextlib.suppress(OSError):
            send(facts, wait="progress" not in facts)


def send(facts: Mapping[str, Any], *, wait: bool = True) -> None:
    """Send facts to the driver, whole or not at all. A driver that is stopped is waited for.

    Raises OSError when it is gone, when the facts take more than about 200 KB, and without `wait` when it is behind.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.setblocking(wait)
        line.sendto(json.dumps(facts).encode(), os.environ[DRIVER_VARIABLE])


class Progress:
    """Counts work done. `with Progress("embed", total=900, unit="chunks") as progress: progress.advance(32)`."""

    def __init__(self, what: str, *, total: float | None, unit: str) -> None:
        self.what, self.total, self.unit, self.done = what, total, unit, 0.0
        self._last = time.monotonic()
        self._seen: deque[tuple[float, float]] = deque()  # (when, how much was done), of the last minute
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if not driven() and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn())
            self._bar = Bar(*columns, console=Console(file=drawn_on()), transient=True)
            self._task = self._bar.add_task(_escaped(self.what), total=self.total)
            self._bar.start()
            guard()  # what is printed beside a running bar goes through streams of its own
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, amount: float = 1, *, loss: float | None = None) -> None:
        """Count work that was done. loss: of a training, as it is now; not a number while nobody knows."""
        self.done += amount
        now = time.monotonic()
        if not self._seen:  # what came first may have been done by an earlier try
            self._seen.append((now, self.done))
        every = _PLAIN_EVERY_S if self._bar is None and not driven() else _TOLD_EVERY_S
        if now - self._last < every:
            return
        self._last = now
        about = {"progress": self.what, "done": self.done, "total": self.total, "unit": self.unit}
        facts = {**about, "loss": None if loss is None or math.isnan(loss) else loss, "rate": self._rate(now)}
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, description=_escaped(in_words(facts)))
        elif driven():
            tell(**facts)
        else:
            print(in_words(facts), file=sys.stderr, flush=True)

    def _rate(self, now: float) -> float | None:
        """Units a second, of the last minute or so."""
        while len(self._seen) > 1 and now - self._seen[1][0] > _RATE_OVER_S:
            self._seen.popleft()
        since, done = self._seen[0]
        self._seen.append((now, self.done))
        return (self.done - done) / (now - since) if now > since and self.done > done else None


def in_words(facts: Mapping[str, Any]) -> str:
    """How far it is, by what was told: "train: 320 of 534 steps, loss 0.4213, 8.1 steps/s, 0:00:26 left"."""
    done, total, unit = facts["done"], facts["total"], facts["unit"]
    loss, rate = facts.get("loss"), facts.get("rate")
    words = [f"{facts['progress']}: {done:,.0f}{f' of {total:,.0f}' if total else ''} {unit}".rstrip()]
    words += [f"loss {loss:.4f}"] if loss is not None else []
    words += [f"{rate:,.{0 if rate >= _WHOLE else 1}f} {unit}/s"] if rate else []
    words += [f"{timedelta(seconds=round((total - done) / rate))} left"] if rate and total and done < total else []
    return ", ".join(words)


def _escaped(words: str) -> str:
    from rich.markup import escape

    return escape(plain(words))


def tracked(items: Iterable[T], what: str, *, total: float | None, unit: str) -> Iterator[T]:
    """The items, counted as they go by."""
    with Progress(what, total=total, unit=unit) as progress:
        for item in items:
            yield item
            progress.advance()
