"""Rows -> one Parquet file, in memory that does not grow with them.

Rows wait in numbered parts, each with the types that its own values have; at the end the parts are given one schema
and written as row groups. Row ids and what has been seen stand in a temporary SQLite file.
"""

from __future__ import annotations

import errno
import heapq
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.tables.keys import label_name

PART_ROWS = 5000
_CACHE_KIB = 64 * 1024  # of the keys that were seen: with 2 MB a million of them took half as long again
_MOST_FIELDS = 200  # names in the objects of a column: of more, all would stand in every row
_DEEPEST = 32  # lists and mappings in one another; Parquet files with more than 60 are written and not read back
_EXACT = 2**53  # up to here a float holds every whole number
PART_BYTES = 32 * 2**20  # of text in a part, roughly: long documents make smaller parts
_SEQUENCE, _BYTES, _FILE = "\0sequence", "\0bytes", "\0file"  # names that no source's column has

Settle = Callable[[Mapping[str, Any], Path | bytes], Mapping[str, Any]]


class Seen:
    """How often each key has been seen, and where first; on disk."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._database.execute("CREATE TABLE seen (key TEXT PRIMARY KEY, times INTEGER, place TEXT) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, key: str, place: str) -> tuple[int, str]:
        """Count the key once more. Returns how often it has been seen now, and the place of the first."""
        statement = (
            "INSERT INTO seen VALUES (?, 1, ?) ON CONFLICT (key) DO UPDATE SET times = times + 1 RETURNING times, place"
        )
        try:
            times, first = self._database.execute(statement, (key, place)).fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._file)) from None
            raise
        return int(times), str(first)

    def close(self) -> None:
        self._database.close()


class Sample:
    """The rows of lowest content hash, in memory that grows with the sample only. size None: every row."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._worst: list[tuple[int, int]] = []  # a heap of negated (hash, sequence): the highest kept comes first

    def takes(self, content_hash: str, sequence: int) -> bool:
        """Whether the row is among the lowest so far; a later row may still push it out."""
        if self._size is None:
            return True
        entry = (-int(content_hash, 16), -sequence)
        if len(self._worst) < self._size:
            heapq.heappush(self._worst, entry)
            return True
        return heapq.heappushpop(self._worst, entry) != entry

    def kept(self) -> set[int] | None:
        """The sequence numbers of the rows that stayed, or None for all."""
        return None if self._size is None else {-sequence for _, sequence in self._worst}


class Spool:
    """Collects rows in parts below `folder`.

    columns: those that stand first, each with its type ("string", "double", "int64") or None for that of its values.
    """

    def __init__(self, folder: Path, columns: Mapping[str, str | None]) -> None:
        self._folder = folder
        self._fixed = {name: pa.type_for_alias(kind) for name, kind in columns.items() if kind}
        self._fixed |= {_SEQUENCE: pa.int64(), _BYTES: pa.binary(), _FILE: pa.binary()}
        self._columns = dict.fromkeys(columns)  # an ordered set
        self._rows: list[dict[str, Any]] = []
        self._size = 0
        self._parts: list[pa.Schema] = []

    def add(self, row: Mapping[str, Any], sequence: int, media: Path | bytes | None = None) -> None:
        """Take a row; media: its content, settled when the row is written."""
        self._columns.update(dict.fromkeys(row))
        file = os.fsencode(media) if isinstance(media, Path) else None
        waiting = {**row, _SEQUENCE: sequence, _BYTES: media if isinstance(media, bytes) else None, _FILE: file}
        self._rows.append(waiting)
        self._size += sum(len(value) for value in waiting.values() if isinstance(value, str | bytes))
        if len(self._rows) >= PART_ROWS or self._size >= PART_BYTES:
            self._flush()

    def write(self, target: Path, kept: set[int] | None, settle: Settle) -> int:
        """Write the rows (with `kept`: those of these sequence numbers) into one file; returns how many.

        settle: given a row with media, and the media, the columns that say what became of it.
        """
        self._flush()
        schema = pa.schema([(name, self._type(name)) for name in self._columns])
        written = 0
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            for batch in self._batches(schema, kept, settle):
                writer.write_table(batch, row_group_size=PART_ROWS)
                written += batch.num_rows
        return written

    def _flush(self) -> None:
        if not self._rows:
            return
        names = [*self._columns, _SEQUENCE, _BYTES, _FILE]
        arrays = [_array([row.get(name) for row in self._rows], self._fixed.get(name)) for name in names]
        part = pa.table(arrays, names=names)
        pq.write_table(part, self._part(len(self._parts)), compression="lz4")
        self._parts.append(part.schema)
        self._rows, self._size = [], 0

    def _part(self, number: int) -> Path:
        return self._folder / f"{number:06}.parquet"

    def _type(self, name: str) -> pa.DataType:
        """One type for the parts' types; text when they have nothing in common, or when it would change a value."""
        if name in self._fixed:
            return self._fixed[name]
        fields = [pa.schema([part.field(name)]) for part in dict.fromkeys(self._parts) if name in part.names]
        try:
            found = pa.unify_schemas(fields, promote_options="permissive").field(name).type
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.string()
        if pa.types.is_null(found) or not _storable(found):
            return pa.string()
        return found if all(self._keeps(number, name, found) for number in range(len(self._parts))) else pa.string()

    def _keeps(self, number: int, name: str, kind: pa.DataType) -> bool:
        """Whether the column of a part can have this type, each value as it is; objects gain each other's names."""
        part = self._parts[number]
        if name not in part.names or part.field(name).type in (kind, pa.null()):
            return True
        values = pq.read_table(self._part(number), columns=[name])[name].to_pylist()
        try:
            return bool(pa.array(values, type=kind).to_pylist() == values) or pa.types.is_struct(kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            return False

    def _batches(self, schema: pa.Schema, kept: set[int] | None, settle: Settle) -> Iterator[pa.Table]:
        """The parts under the common schema; small ones (of a sample) joined to row groups of full size."""
        waiting: list[pa.Table] = []
        for number in range(len(self._parts)):
            part = pq.read_table(self._part(number))
            if kept is not None:
                part = part.filter(pa.array(sequence in kept for sequence in part[_SEQUENCE].to_pylist()))
            part = _settled(part, settle)
            waiting.append(pa.table([_column(part, field) for field in schema], schema=schema))
            if kept is None or sum(table.num_rows for table in waiting) >= PART_ROWS:
                yield pa.concat_tables(waiting)
                waiting = []
        if waiting:
            yield pa.concat_tables(waiting)


def _settled(part: pa.Table, settle: Settle) -> pa.Table:
    """The part with what became of its media."""
    if part[_BYTES].null_count == part[_FILE].null_count == part.num_rows:
        return part
    rows = part.to_pylist()
    for row in rows:
        media = row[_BYTES] if row[_FILE] is None else Path(os.fsdecode(row[_FILE]))
        if media is not None:
            row.update(settle(row, media))
    return pa.Table.from_pylist(rows, schema=part.schema)


def _array(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    try:
        array = pa.array(values, type=kind)
        if kind is not None or (_storable(array.type) and _alike(values, array.type)):
            return array
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError):
        pass  # these values have no type in common
    return pa.array([_as_text(value) for value in values], type=pa.string())


def _alike(values: list[Any], kind: pa.DataType) -> bool:
    """Whether all values have that type by themselves: Arrow takes the number 1 for a time among times."""
    times = date, time, timedelta
    return not pa.types.is_temporal(kind) or all(value is None or isinstance(value, times) for value in values)


def _storable(kind: pa.DataType) -> bool:
    """Whether Parquet can hold and give back such values: nested not too deeply, and no object without names."""
    fields, level = 0, [kind]
    for _ in range(_DEEPEST):
        if any(pa.types.is_struct(each) and not each.num_fields for each in level):
            return False
        level = [each.field(at).type for each in level for at in range(each.num_fields)]
        fields += len(level)
        if not level or fields > _MOST_FIELDS:
            break
    return not level


def _column(part: pa.Table, field: pa.Field) -> pa.Array:
    if field.name not in part.schema.names:
        return pa.nulls(part.num_rows, field.type)
    column = part[field.name]
    if column.type == field.type:
        return column
    values = column.to_pylist()
    if pa.types.is_string(field.type):
        values = [_as_text(value) for value in values]
    return pa.array(values, type=field.type)


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Decimal) or (isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT):
        return label_name(value)  # beside the text "7" the number 7.0 is the same group
    if isinstance(value, date | time | timedelta):
        return str(value)
    try:
        return json.dumps(value, default=str, sort_keys=True)
    except RecursionError:
        return "(nested too deeply)"
