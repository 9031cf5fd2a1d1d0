"""A look at somebody's data, before there are settings: which files there are, how they read, what the rows hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from core.errors import BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from core.workspace import Workspace
from flows.starting.column_kinds import Column, columns_of
from pipelines.sources import find_source, scheme
from pipelines.sources._files import Files, Record
from pipelines.sources.parsers import media_kind
from pipelines.sources.readers import READERS, is_table, reader_file, tables

MOST_ROWS = 50_000  # that are looked at
_ANYTHING = Contract(columns={}, inputs=())
_ENCODINGS = ("utf-16", "cp1252")  # tried in this order where the bytes are no UTF-8
_MOSTLY = 0.5
_CSV, _DELIMITERS = "csv", (",", ";", "\t", "|")


@dataclass(frozen=True)
class FolderSeen:
    """files: how many there are by what they are. labels: of each first folder, how many of them it holds."""

    pictures: int
    sounds: int
    documents: int
    tables: Counter[str]
    labels: Counter[str]


@dataclass(frozen=True)
class Seen:
    """data: how the source is to be read, so far. rows: those that were read (at most MOST_ROWS), bad: with a fault.

    One of columns and folder is empty. notes: what the readers say. examples: some rows, by the source's names.
    """

    data: Data
    rows: int = 0
    bad: int = 0
    first_fault: str | None = None
    more: bool = False
    columns: list[Column] = field(default_factory=list)
    folder: FolderSeen | None = None
    notes: list[str] = field(default_factory=list)
    values: list[dict[str, Any]] = field(default_factory=list)

    def column(self, name: str) -> Column | None:
        return next((each for each in self.columns if each.name == name), None)


def look(workspace: Workspace, data: Data, *, downloads: Path | None = None) -> Seen:
    """Look at a source. downloads: where copies of remote files are kept, if not in the workspace.

    Raises BadRequest where it is not there or nothing reads it, Outage where no server answers.
    """
    source = find_source(data.source)
    identity = source.identify(data, workspace.root)
    downloads = downloads or workspace.var / "downloads"
    fetched = source.fetch(data, workspace.root, downloads=downloads, identity=identity)
    if not isinstance(fetched, Files):
        return _rows(data, iter([fetched]))
    if scheme(data.source) in ("http", "https") and data.sha256 is None:
        data = data.model_copy(update={"sha256": fetched.checksum()[0]})
    if data.reader is None and fetched.single is None:
        folder = _folder(fetched)
        kind, count = next(iter(folder.tables.most_common(1)), ("", 0))
        files = folder.pictures + folder.sounds + folder.documents
        if count <= _MOSTLY * (files + folder.tables.total()):
            return Seen(data, rows=files, folder=folder)
        data = data.model_copy(update={"reader": kind})
    if data.reader is None:
        data = data.model_copy(update={"reader": _reader(data)})
    return _as_text(fetched, _with_delimiter(fetched, data))


def _with_delimiter(files: Files, data: Data) -> Data:
    """Of a csv that is not separated as its name says: with the character by which its header reads as it does now."""
    if data.reader != _CSV or data.delimiter is not None:
        return data
    found = _header(files, data)
    by = {each: _header(files, data.model_copy(update={"delimiter": each})) for each in _DELIMITERS}
    usual = next((each for each in _DELIMITERS if by[each] == found and found), None)
    return data if usual in (None, _DELIMITERS[0]) else data.model_copy(update={"delimiter": usual})


def _header(files: Files, data: Data) -> list[str]:
    try:
        table = next(tables(READERS / f"{_CSV}.py", files, data=data, contract=_ANYTHING))
    except (BadRequest, StopIteration):
        return []
    return list(table.columns or ())


def _as_text(files: Files, data: Data) -> Seen:
    """The rows; where they are no UTF-8, by the encoding that leaves the fewest faults."""
    tried: list[Seen] = []
    refused: BadRequest | None = None
    for encoding in (data.encoding, *_ENCODINGS):
        read = data.model_copy(update={"encoding": encoding})
        reader = reader_file(read.source, read.reader)
        assert reader is not None, "files have a reader"
        try:
            tried.append(_rows(read, tables(reader, files, data=read, contract=_ANYTHING)))
        except BadRequest as fault:
            refused = refused or fault
            continue
        if not tried[-1].bad:
            break
    if not tried:
        assert refused is not None
        raise refused
    return min(tried, key=lambda seen: seen.bad)


def _rows(data: Data, found: Iterator[Any]) -> Seen:
    notes: list[str] = []
    faults: list[str] = []
    counted = Counter[str]()

    def records() -> Iterator[Record]:
        for table in found:
            yield from table.records
            notes.extend(table.notes)

    values: list[dict[str, Any]] = []

    def readable() -> Iterator[Mapping[str, Any]]:
        for record in islice(records(), MOST_ROWS + 1):
            counted["rows"] += 1
            if record.left_out or counted["rows"] > MOST_ROWS:
                continue
            if record.fault:
                faults.append(f"{record.place}: {record.fault}")
                continue
            values.append({name: value for name, value in record.values.items() if not isinstance(value, bytes)})
            yield record.values

    columns = columns_of(readable())
    return Seen(
        data,
        rows=min(counted["rows"], MOST_ROWS),
        bad=len(faults),
        first_fault=faults[0] if faults else None,
        more=counted["rows"] > MOST_ROWS,
        columns=columns,
        notes=notes,
        values=values,
    )


def _folder(files: Files) -> FolderSeen:
    kinds = Counter[str]()
    by_reader, labels = Counter[str](), Counter[str]()
    for found in files:
        media = media_kind(found.name)
        if media is None and is_table(found.name):
            by_reader[_reader(Data(source=found.name))] += 1
            continue
        kinds[media or "document"] += 1
        inside = PurePosixPath(found.name).parts
        labels[inside[0] if len(inside) > 1 else ""] += 1
    if not kinds and not by_reader:
        raise BadRequest(f"source {files.folder}: there is no file in it.")
    return FolderSeen(kinds["picture"], kinds["sound"], kinds["document"], by_reader, labels)


def _reader(data: Data) -> str:
    file = reader_file(data.source, data.reader)
    assert file is not None, "files have a reader"
    return file.stem
