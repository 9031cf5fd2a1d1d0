"""A table among documents: each of its rows is a document."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.errors import BadData, BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found
from pipelines.sources._records import Record
from pipelines.sources.readers import csv, jsonl, parquet, suffix_of

PARSER, FORMAT = "rows 1", "text"
_READERS = {suffix: reader for reader in (csv, jsonl, parquet) for suffix in reader.SUFFIXES}


def is_table(found: Found) -> bool:
    return suffix_of(found.name) in _READERS


def rows_of(found: Found, folder: Files, *, data: Data, contract: Contract) -> Iterator[Record]:
    """The rows of one table of a folder; a table that cannot be read is one row with that fault.

    A row's text is its column `text`, or else all its cells, a line each. Its id is the table's name and its column
    `id`, or else the number of its line.
    """
    reader = _READERS[suffix_of(found.name)]
    try:
        for table in reader.read(Files(folder.folder, (found.path,)), data=data, contract=contract):
            for record in table.records:
                yield _document(record, found)
    except (BadData, BadRequest) as error:
        yield Record({**_about(found), "id": found.name}, found.name, fault=str(error))


def _document(record: Record, found: Found) -> Record:
    cells = record.values
    own = cells.get("id")
    values = {
        **_about(found),
        "id": record.place if own is None else f"{found.name}#{own}",
        "title": cells.get("title"),
        "text": None if record.fault else cells["text"] if "text" in cells else _lines(cells),
        **({"labels": cells["labels"]} if "labels" in cells else {}),
    }
    return Record(values, record.place, fault=record.fault, raw=record.raw)


def _about(found: Found) -> dict[str, Any]:
    return {"path": found.name, "title": None, "text": None, "format": FORMAT, "parser": PARSER}


def _lines(cells: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in cells.items() if value not in (None, ""))
