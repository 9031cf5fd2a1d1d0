"""Idempotency keys: a change that is sent twice is made once and answered twice. In SQLite, for all processes.

Changes of one index wait for each other, by a lock of that index; those of another do not.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.file_locks import held

KEPT_S = 24 * 3600  # a client that asks again after a day means something new


class OtherRequest(Exception):
    """The key was used for another request."""


@dataclass(frozen=True)
class Repeats:
    file: Path

    def once(self, index: str, caller: str, key: str, request: str, change: Callable[[], str]) -> str:
        """The answer to this request: of the change, or of the first time. request: a hash of all that it says.

        index: one that there is. A process that dies between the change and its record makes it again when it is sent
        again; changes that set or remove one document may be made twice. Raises OtherRequest, and whatever the change
        raises.
        """
        with held(self.file.with_name(f"{index}.repeats.lock")):
            known = self._known(caller, key)
            if known is None:
                answer = change()
                self._keep(caller, key, request, answer)
                return answer
            if known[0] != request:
                raise OtherRequest("this Idempotency-Key was used for another request. Take a new one.")
            return known[1]

    def _known(self, caller: str, key: str) -> tuple[str, str] | None:
        with self._store() as store:
            store.execute("delete from answers where at < ?", (time.time() - KEPT_S,))
            found = store.execute("select request, answer from answers where caller = ? and key = ?", (caller, key))
            known: tuple[str, str] | None = found.fetchone()
            return known

    def _keep(self, caller: str, key: str, request: str, answer: str) -> None:
        """Of two at once with one key, in two indexes, the first is kept."""
        with self._store() as store:
            said = (caller, key, request, answer, time.time())
            store.execute("insert or ignore into answers values (?, ?, ?, ?, ?)", said)

    @contextmanager
    def _store(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.file, timeout=30, isolation_level=None)) as store:
            store.execute(
                "create table if not exists answers (caller, key, request, answer, at, primary key (caller, key))"
            )
            yield store
