"""titled: one file an example, whatever the folders; `title` is its first line with words on it, `text` the rest."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.errors import BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import document

SUFFIXES = ()


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    if contract.media:
        raise BadRequest(f"reader titled reads texts, and the task asks for {contract.media}.")
    yield Table(str(data.source), ("id", "path", "title", "text"), (_record(found, data) for found in files))


def _record(found: Found, data: Data) -> Record:
    text, fault = document(found.path, data.encoding)
    title, _, body = (text or "").strip().partition("\n")
    values: dict[str, Any] = {"id": found.name, "path": found.name, "title": title.strip(), "text": body.strip()}
    return Record(values, found.name, fault=fault)
