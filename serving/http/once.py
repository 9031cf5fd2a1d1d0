"""Idempotency keys: a change that is sent twice is made once and answered twice. In SQLite, for all processes.

Changes of one index wait for each other, by a lock of that index; those of another do not.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from core.errors import BadRequest
from core.file_locks import held

KEPT_S = 24 * 3600  # a client that asks again after a day means something new


def once(file: Path, index: str, caller: str, key: str, request: str, change: Callable[[], str]) -> str:
    """The answer to this request: of the change, or of the first time. request: a hash of all that it says.

    file: the store. index: one that there is. A process that dies between the change and its record makes it again when
    it is sent again; changes that set or remove one document may be made twice. Raises BadRequest for a key that was
    used for another request, and whatever the change raises.
    """
    with (
        held(file.with_name(f"{index}.repeats.lock")),
        closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as store,
    ):
        store.execute(
            "create table if not exists answers (caller, key, request, answer, at, primary key (caller, key))"
        )
        store.execute("delete from answers where at < ?", (time.time() - KEPT_S,))
        named = "select request, answer from answers where caller = ? and key = ?"
        for known, answer in store.execute(named, (caller, key)).fetchall():
            if known != request:
                raise BadRequest("this Idempotency-Key was used for another request. Take a new one.")
            return str(answer)
        made = change()
        said = (caller, key, request, made, time.time())
        store.execute("insert or ignore into answers values (?, ?, ?, ?, ?)", said)  # of two indexes: the first
        return made
