"""A row's text taken out of files that stay: JSON by value, text by line, SQLite by cell and with what it deleted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from core.atomic_files import swap_in
from flows.forget.row_copies import Traces

PLACEHOLDER = "(forgotten)"
_BUSY_S = 60.0


def redact(path: Path, traces: Traces) -> bool:
    """Write a file anew without the text; False when it is neither JSON nor text, and is as it was."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    written = _without(text, traces)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(written, encoding="utf-8")
    beside.chmod(path.stat().st_mode)
    swap_in(beside, path)
    return True


def scrub_database(file: Path, traces: Traces) -> None:
    """Replace the text in every cell, and write the file anew, without the pages that hold deleted rows."""
    with closing(sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None)) as store:
        store.execute("PRAGMA secure_delete = ON")
        for (table,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for column in [row[1] for row in store.execute(f"PRAGMA table_info({_quoted(table)})")]:
                _scrub_column(store, _quoted(table), _quoted(column), traces)
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.execute("VACUUM")
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _scrub_column(store: sqlite3.Connection, table: str, column: str, traces: Traces) -> None:
    holds = " OR ".join(f"instr({column}, ?)" for _ in traces.spellings)
    query = f"SELECT rowid, {column} FROM {table} WHERE typeof({column}) = 'text' AND ({holds})"  # noqa: S608
    for row, text in store.execute(query, traces.spellings).fetchall():
        store.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (_without(text, traces), row))  # noqa: S608


def _without(text: str, traces: Traces) -> str:
    """The text with every string of JSON, or every line of another text, left out that has a piece of the row's."""
    try:
        return json.dumps(_cleaned(json.loads(text), {*traces.texts, *traces.encoded}), ensure_ascii=False)
    except ValueError:
        pieces = traces.spellings
        lines = text.splitlines(keepends=True)
        return "".join(f"{PLACEHOLDER}\n" if any(each in line for each in pieces) else line for line in lines)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _cleaned(value: Any, texts: Iterable[str]) -> Any:
    if isinstance(value, dict):
        return {_cleaned(key, texts): _cleaned(each, texts) for key, each in value.items()}
    if isinstance(value, list):
        return [_cleaned(each, texts) for each in value]
    if isinstance(value, str) and any(text in value for text in texts):
        return PLACEHOLDER
    return value
