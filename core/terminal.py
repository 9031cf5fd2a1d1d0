"""What reaches a terminal is text: an escape in a document, a label or a file's name would move its cursor, hide lines
or open links. guard() stands before all that this process prints, so that no verb has to think of it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_OBEYED = {*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)} - {ord("\t"), ord("\n")}
_SPACES = "\v\f\r\x85"
_PLAIN = {**dict.fromkeys(_OBEYED), **{ord(space): " " for space in _SPACES}}
_ESCAPED = {code: f"\\u{code:04x}" for code in _OBEYED}


def plain(text: str) -> str:
    """Without what a terminal obeys: control characters but tab and line feed, and changes of the text's direction."""
    return text.translate(_PLAIN)


def escaped(json: str) -> str:
    """A JSON document that says the same with escapes for those characters: they stand within its strings alone."""
    return json.translate(_ESCAPED)


class Plain:
    """A text stream that is written through plain()."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return self.stream.write(plain(text))

    def writelines(self, lines: Iterable[str]) -> None:
        self.stream.writelines(map(plain, lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def guard() -> None:
    """Let all that is printed from now on be plain; a terminal that cannot show a character gets its escape."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
        if not isinstance(stream, Plain):
            setattr(sys, name, Plain(stream))


def drawn_on() -> TextIO:
    """stderr as it is, for a progress bar, which moves the cursor itself. What it is to show goes through plain()."""
    return sys.stderr.stream if isinstance(sys.stderr, Plain) else sys.stderr


@contextmanager
def heard(logger: str, level: int, hear: Callable[[logging.LogRecord], None]) -> Iterator[None]:
    """Call `hear` with what a library logs from `level` on while the block runs; nobody else hears it."""

    def alone(record: logging.LogRecord) -> bool:
        hear(record)
        return False

    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(level)
    log.addFilter(alone)
    try:
        yield
    finally:
        log.removeFilter(alone)
        log.setLevel(before)
