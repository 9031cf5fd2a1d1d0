"""How a stage says how far it is: a rich bar on a terminal, plain lines elsewhere, facts in a socket for a driver."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from core.terminal import drawn_on, guard, plain

DRIVER_VARIABLE = "HEADRACE_DRIVER"  # set by flows/: the socket in which the driver hears its stages
_PLAIN_EVERY_S = 10.0
_TOLD_EVERY_S = 0.5

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
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if not driven() and sys.stderr.isatty():
            from rich.console import Console
            from rich.markup import escape
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(file=drawn_on()), transient=True)
            self._task = self._bar.add_task(escape(plain(self.what)), total=self.total)
            self._bar.start()
            guard()  # what is printed beside a running bar goes through streams of its own
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, amount: float = 1, **facts: Any) -> None:
        self.done += amount
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done)
            return
        every = _TOLD_EVERY_S if driven() else _PLAIN_EVERY_S
        if time.monotonic() - self._last >= every:
            self._last = time.monotonic()
            if driven():
                tell(progress=self.what, done=self.done, total=self.total, unit=self.unit, **facts)
            else:
                print(in_words(self.what, self.done, self.total, self.unit), file=sys.stderr, flush=True)


def in_words(what: str, done: float, total: float | None, unit: str) -> str:
    """How far it is: "training: 320 of 534 batches"."""
    of = f" of {total:,.0f}" if total else ""
    return f"{what}: {done:,.0f}{of} {unit}".rstrip()


def tracked(items: Iterable[T], what: str, *, total: float | None, unit: str) -> Iterator[T]:
    """The items, counted as they go by."""
    with Progress(what, total=total, unit=unit) as progress:
        for item in items:
            yield item
            progress.advance()
