"""Idempotency keys: a change that is sent twice is made once and answered twice. In SQLite, for all processes."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from core.atomic_files import make_folder

KEPT_S = 24 * 3600  # a client that asks again after a day means something new


class OtherRequest(Exception):
    """The key was used for another request."""


@dataclass(frozen=True)
class Repeats:
    file: Path

    def once(self, caller: str, key: str, request: str, change: Callable[[], str]) -> str:
        """The answer to this request: of the change, or of the first time. request: a hash of all that it says.

        A process that dies between the change and its record makes it again when it is sent again; changes that set
        or remove one document may be made twice. Raises OtherRequest, and whatever the change raises.
        """
        make_folder(self.file.parent)
        with closing(sqlite3.connect(self.file, timeout=30, isolation_level=None)) as store:
            store.execute(
                "create table if not exists answers (caller, key, request, answer, at, primary key (caller, key))"
            )
            store.execute("begin immediate")
            try:
                store.execute("delete from answers where at < ?", (time.time() - KEPT_S,))
                known = store.execute(
                    "select request, answer from answers where caller = ? and key = ?", (caller, key)
                ).fetchone()
                if known is None:
                    answer = change()
                    store.execute(
                        "insert into answers values (?, ?, ?, ?, ?)", (caller, key, request, answer, time.time())
                    )
                elif known[0] != request:
                    raise OtherRequest("this Idempotency-Key was used for another request. Take a new one.")
                else:
                    answer = known[1]
            except BaseException:
                store.execute("rollback")
                raise
            store.execute("commit")
            return str(answer)
