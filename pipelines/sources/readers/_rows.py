"""A table among documents: each of its rows is a document. Read in the parsers' process (_parsing.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from core.schema.columns import DOCUMENTS, Column
from core.schema.data import Data
from core.tables import access
from pipelines.sources._files import Files, Found, Record
from pipelines.sources._opening import MAX_CHARS, too_long
from pipelines.sources.readers import table_reader

PARSER, FORMAT = "rows 1", "text"
_TEXTS = ("text", "title", "id")
_ANY = replace(DOCUMENTS, columns={**DOCUMENTS.columns, "text": Column("text", required=False)})


def rows_of(found: Found, files: Files, data: Data, notes: list[str]) -> Iterator[Record]:
    """The rows of one table of a folder. Raises BadData and BadRequest for one that cannot be read to its end.

    data: encoding and delimiter of all tables there. notes: gains what the reader has to say.

    A row's text is its column `text`, or else all its cells, a line each. Its id is the table's name and its column
    `id`, or else the number of its line.
    """
    one = Files(files.folder, (found.path,))
    for table in table_reader(found.name).read(one, data=data, contract=_ANY):
        for record in table.records:
            yield replace(record, values=_nothing(found)) if record.left_out else _document(record, found)
        notes += table.notes


def unread(found: Found, fault: str) -> Record:
    """A table that cannot be read is one row with that fault."""
    return Record({**_nothing(found), "id": found.name}, found.name, fault=fault)


def _document(record: Record, found: Found) -> Record:
    cells = record.values
    own = cells.get("id")
    values = {
        "id": record.place if own is None else f"{found.name}#{own}",
        "title": cells.get("title"),
        "text": None if record.fault else cells["text"] if "text" in cells else _lines(cells),
    }
    labels = {"labels": cells["labels"]} if "labels" in cells else {}
    faults = (record.fault, *(_fault(name, values[name]) for name in _TEXTS), _of_labels(cells.get("labels")))
    if fault := next(filter(None, faults), None):
        values, labels = {"id": record.place if _fault("id", values["id"]) else values["id"]}, {}
    raw = record.raw and record.raw[:MAX_CHARS]
    return Record({**_nothing(found), **values, **labels}, record.place, fault=fault, raw=raw)


def _fault(name: str, value: Any) -> str | None:
    if value is None or value != value:  # NaN is no value
        return None
    return too_long(name, value) if isinstance(value, str) else f"{name}: not text but {type(value).__name__}"


def _of_labels(labels: Any) -> str | None:
    told, wrong = access.told(labels, needed=False)
    return f"labels: {wrong}" if wrong else too_long("labels", told)


def _nothing(found: Found) -> dict[str, Any]:
    return {"path": found.name, "title": None, "text": None, "format": FORMAT, "parser": PARSER}


def _lines(cells: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in cells.items() if value not in (None, ""))
