"""What a verb leaves on stdout: lines for a person, or one JSON document. Logs and progress go to stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from core.terminal import escaped

_PIPE_CLOSED = 141  # what shells say of a command whose reader went away


def show(document: Any, lines: Iterable[str], *, as_json: bool) -> None:
    """Print the document as JSON, or the lines. A reader that goes away (`| head`) ends the process silently."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    try:
        if as_json:
            print(escaped(json.dumps(document, indent=2, ensure_ascii=not unicode, allow_nan=False)))
        else:
            for line in lines:
                print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the interpreter's last flush
        sys.exit(_PIPE_CLOSED)


def show_fault(message: str, code: int, *, as_json: bool) -> None:
    """One clear message on stderr; for scripts the same as a document on stdout."""
    print(f"headrace: {message}", file=sys.stderr, flush=True)
    if as_json:
        show({"error": {"message": message, "exit_code": code}}, [], as_json=True)


def say(text: str) -> None:
    """A line for people: stdout is for what was asked for."""
    print(text, file=sys.stderr, flush=True)
