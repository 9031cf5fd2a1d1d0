"""labelled_folders: SOURCE/LABEL/.../file, one file an example; `label` is the name of its first folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found
from pipelines.sources._records import Record, Table
from pipelines.sources.readers._document import document

SUFFIXES = ()


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    columns = ("label", "path") if contract.media else ("label", "path", "text")
    yield Table(str(data.source), columns, (_record(found, data, contract) for found in files))


def _record(found: Found, data: Data, contract: Contract) -> Record:
    label, inside, _ = found.name.partition("/")
    values: dict[str, Any] = {"label": label if inside else None, "path": found.name}
    fault = None if inside else "lies in no labelled folder"
    if contract.media:
        return Record({**values, "path": found.path}, found.name, fault=fault)
    text, unread = document(found.path, data.encoding)
    return Record({**values, "text": text}, found.name, fault=fault or unread)
