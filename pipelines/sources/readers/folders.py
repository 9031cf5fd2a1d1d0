"""folders: one file an example, whatever the folders; `id` and `path` are its path below the source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.contract import Contract
from pipelines.schema.data import Data
from pipelines.sources._files import Files, Found
from pipelines.sources._records import Record, Table
from pipelines.sources.readers._document import document

SUFFIXES = ()


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    columns = ("id", "path") if contract.media else ("id", "path", "text")
    yield Table(str(data.source), columns, (_record(found, data, contract) for found in files))


def _record(found: Found, data: Data, contract: Contract) -> Record:
    values: dict[str, Any] = {"id": found.name}
    if contract.media:
        return Record({**values, "path": found.path}, found.name)
    text, fault = document(found.path, data.encoding)
    return Record({**values, "path": found.name, "text": text}, found.name, fault=fault)
