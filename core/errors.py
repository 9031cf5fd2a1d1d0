"""Faults a person can act on, and the exit code each one ends a command with.

The codes are part of the interface (docs: "Exit codes"): 1 a stage failed, 2 the request or something it names
is wrong, 3 the content of the data stopped it, 4 a gate refused.
"""

from __future__ import annotations

import difflib
import errno
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.addresses import without_secrets

GATE_REFUSED = 4
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
_IN_WORDS = re.compile(r"\[Errno (\d+)\]|\(os error (\d+)\)|database or disk is full")
_FREE_SPACE = "Free space or allow writing, then run again; earlier outputs stand as they were."


class HeadraceError(Exception):
    """A fault whose message says what, where, which value, what is allowed and what to do next."""

    exit_code = 1
    transient = False

    def __str__(self) -> str:
        return without_secrets(super().__str__())


class BadRequest(HeadraceError):
    """A settings file, or something that it names (a source, a base model), is wrong or cannot be read."""

    exit_code = 2


class BadData(HeadraceError):
    """The content of the data broke the contract."""

    exit_code = 3


class Outage(HeadraceError):
    """A server or a network did not answer; the same command may succeed later, so drivers retry it."""

    transient = True


class Unwritable(HeadraceError):
    """The disk is full or the folder read-only; earlier outputs stand as they were."""


def near(name: str, allowed: Iterable[str]) -> str:
    """`Did you mean ...? ` when one of the allowed names is close, else nothing."""
    matches = difflib.get_close_matches(name, list(allowed), n=1)
    return f"Did you mean {matches[0]!r}? " if matches else ""


def unwritable(error: Exception, folder: Path) -> Unwritable | None:
    """What to say when a full disk or a read-only folder is the reason; None for any other.

    SQLite, libraries in Rust and copies of whole folders tell the reason only in their words.
    """
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return Unwritable(f"cannot write {error.filename or folder}: {error.strerror}. {_FREE_SPACE}")
    words = str(error.args[0][0][-1]) if isinstance(error, shutil.Error) else str(error)
    code = _IN_WORDS.search(words)
    if code is None or int(code[1] or code[2] or errno.ENOSPC) not in _UNWRITABLE:
        return None
    return Unwritable(f"cannot write {folder}: {words}. {_FREE_SPACE}")


@contextmanager
def readable_faults(folder: Path) -> Iterator[None]:
    """Turn a full disk or a read-only folder into Unwritable; anything else goes on as it is."""
    try:
        yield
    except HeadraceError:
        raise
    except Exception as error:
        if (fault := unwritable(error, folder)) is None:
            raise
        raise fault from error
