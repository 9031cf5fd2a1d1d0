"""folders: one file an example, whatever the folders; `id` and `path` are its path below the source.

As documents, files are parsed by what their names end in (sources/parsers/): `title`, `format` and `parser` say what
came of it, and `unread` what of a file is not in its text. A file that cannot be parsed is a row with that fault. A
table gives as many documents as it has rows, which are read in the parsers' process too. Pictures and sounds are
no documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.schema.columns import DOCUMENTS, UNREAD, Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import document, one_file
from pipelines.sources._parsing import Parsers
from pipelines.sources.parsers import Unreadable, kind_of, media_kind
from pipelines.sources.readers import holds_documents
from pipelines.sources.readers._rows import unread

SUFFIXES = ()
_OF_DOCUMENTS = ("id", "path", "title", "text", "format", "parser")


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    if contract == DOCUMENTS:
        with Parsers(remove_boilerplate=data.remove_boilerplate) as parsers:
            notes = list[str]()
            yield Table(str(data.source), _OF_DOCUMENTS, _documents(files, data, parsers, notes), notes)
        return
    columns: tuple[str, ...] = ("id", "path") if contract.media else ("id", "path", "text")
    columns += data.name_columns
    yield Table(str(data.source), columns, (one_file(found, data, contract, {"id": found.name}) for found in files))


def _documents(files: Files, data: Data, parsers: Parsers, notes: list[str]) -> Iterator[Record]:
    for found in files:
        if media := media_kind(found.name):
            yield Record({}, found.name, left_out=media)
            continue
        if not holds_documents(found.name):
            yield one_document(found, data.encoding, parsers)
            continue
        try:
            yield from parsers.rows(found, files.folder, data, notes)
        except Unreadable as reason:
            yield unread(found, str(reason))


def one_document(found: Found, encoding: str, parsers: Parsers) -> Record:
    """A file, no table, as a document; its fault where it cannot be read."""
    kind = kind_of(found.name)
    values: dict[str, Any] = {"id": found.name, "path": found.name, "format": kind.format, "parser": kind.parser}
    if kind.apart:
        try:
            made = parsers.parse(kind.name, found.path, encoding)
        except Unreadable as reason:
            return Record({**values, "title": None, "text": None}, found.name, fault=str(reason))
        in_part = {UNREAD: made.unread} if made.unread else {}
        return Record({**values, "title": made.title or None, "text": made.text, **in_part}, found.name)
    text, fault = document(found.path, encoding)
    if text is not None and "\0" in text:
        text, fault = None, fault or "holds NUL: a binary file that no parser here reads"
    return Record({**values, "title": None, "text": text}, found.name, fault=fault)
