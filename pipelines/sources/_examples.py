"""A source's row -> an example: the task's names and types, a content hash, and what is wrong with it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Any

from core.cells import answer_spans, graph_cells, label_sets, row_links, spans
from core.errors import BadRequest, near
from core.schema.columns import ADDED, Column, Contract, own_name, set_aside
from core.schema.data import Data, Scalar
from core.schema.times import time_text
from core.tables import access
from core.tables.keys import label_name
from pipelines.media.media_files import media_of, sha256_of
from pipelines.sources._files import Record, spelt
from pipelines.sources._tagged import untagged

Told = Callable[[Any, str | None], tuple[str | None, str | None]]
_PARTS: Mapping[str, Told] = {"spans": spans.told, "answers": answer_spans.told}  # kinds of column: parts of a text


@dataclass(frozen=True)
class Example:
    """A row under the task's names, with its media (where its content is media) still to be kept."""

    values: dict[str, Any]
    content_hash: str
    place: str
    fault: str | None
    media: Path | bytes | None = None
    id: str | None = None


@dataclass(frozen=True)
class Shape:
    """How rows become examples: the contract, the renamings, and the filter."""

    contract: Contract
    data: Data
    root: Path = field(default_factory=Path)  # where paths of media start

    def source_name(self, column: str) -> str:
        return self.data.source_name(column)

    @cached_property
    def first(self) -> list[str]:
        """The columns that every table of this shape has, in order."""
        return list(dict.fromkeys([*ADDED, *self._cells, *self.contract.added]))

    @cached_property
    def _cells(self) -> dict[str, tuple[str, Column | None]]:
        """The columns under the task's names: the source's name of each, and what the contract says of it."""
        names = dict.fromkeys([*self.contract.columns, *self.data.columns])
        return {name: (self.source_name(name), self.contract.columns.get(name)) for name in names}

    @cached_property
    def _taken(self) -> set[str]:
        """Names that the table needs itself: a column of the source that has one is set aside, not lost."""
        return {own_name(name, ADDED) for name in self.first}

    @cached_property
    def _used(self) -> set[str]:
        """Columns of the source that stand in the table under the task's names."""
        return {source_name for source_name, _ in self._cells.values()}

    def check(self, columns: Sequence[str], name: str) -> None:
        """Raise BadRequest when columns that are needed are not among those of the source, with all of them."""
        missing = {column: use for column, use in self.data.needed(self.contract).items() if column not in columns}
        if missing:
            told = (f"no column {each!r} (needed for {use!r}). {near(each, columns)}" for each, use in missing.items())
            has = ", ".join(map(str, columns)) or "none"
            which = "which one it is" if len(missing) == 1 else "which ones they are"
            raise BadRequest(f"{name}: {''.join(told)}Columns there: {has}. Say under `columns:` {which}.")

    def wanted(self, record: Record) -> bool:
        """Whether `where` keeps the row. One whose column could not be read is kept, as the fault that it is."""
        if record.fault and not self.data.where.keys() <= record.values.keys():
            return True
        return all(_matches(record.values.get(name), value) for name, value in self.data.where.items())

    def example(self, record: Record) -> Example:
        for source_name, column in self._cells.values():
            if column is not None and column.kind == "spans":
                record = untagged(record, text=self._whole(column), spans=source_name)
        values: dict[str, Any] = {}
        fault = record.fault
        media = None
        for name, (source_name, column) in self._cells.items():
            value = record.values.get(source_name)
            if column is not None and column.kind == "media":
                media, wrong = media_of(value, self.root)
                value = None
            elif column is not None and column.kind == "labels":
                value, wrong = access.told(value, needed=name in self.data.columns)
            elif column is not None and column.kind == "label_set":
                value, wrong = label_sets.told(value, column.separator)
            elif column is not None and column.kind == "links":
                value, wrong = row_links.told(value)
            elif column is not None and column.kind == "graph":
                value, wrong = graph_cells.told(value, self_links=bool(self.contract.self_links))
            elif column is not None and column.kind in _PARTS:
                value, wrong = _parts(value, record.values.get(self._whole(column)), _PARTS[column.kind])
            else:
                value, wrong = _typed(value, column)
            values[name] = value
            fault = fault or (f"{name}: {wrong}" if wrong else None)
        for name, value in record.values.items():
            if name not in self._used:
                values[_clean(set_aside(name, self._taken))[0]] = _clean(value)[0]
        return Example(values, self._hash(media, record, fault), record.place, fault, media, self._id(record))

    def set_aside(self, columns: Iterable[str]) -> dict[str, str]:
        """The source's columns that have another name in the table, because it needs theirs itself, and that name."""
        others = {name: set_aside(name, self._taken) for name in columns if name not in self._used}
        return {name: other for name, other in sorted(others.items()) if other != name}

    def _whole(self, column: Column) -> str:
        """What the source calls the text that a column's spans, or answers, are parts of."""
        return self.source_name(column.of or self.contract.inputs[0])

    def _hash(self, media: Path | bytes | None, record: Record, fault: str | None) -> str:
        if media is not None and self.contract.file in self.contract.identity:
            return sha256_of(media)
        found = [record.values.get(self.source_name(name)) for name in self.contract.identity]
        if len(found) == 1:
            text = found[0] if isinstance(found[0], str) else record.raw
        else:
            text = json.dumps(found, default=str) if any(value is not None for value in found) else record.raw
        if text is None:
            text = f"{record.place}\n{fault}" if fault else ""
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def _id(self, record: Record) -> str | None:
        value = record.values.get(self.data.id) if self.data.id else None
        text = None if value is None else _clean(str(value))[0]
        return text or None


def _matches(value: Any, wanted: Scalar | list[Scalar]) -> bool:
    """Whether a cell is what `where` asks for: of one name (core/tables/keys.py), or a text that spells the value."""
    if isinstance(wanted, list):
        return any(_matches(value, one) for one in wanted)
    if wanted is None:
        return value in (None, "")
    if label_name(value) == label_name(wanted):
        return True
    if not isinstance(value, str) or isinstance(wanted, str):
        return False
    if isinstance(wanted, bool):
        return value.lower() == str(wanted).lower()
    try:  # a whole number is compared digit by digit: a float has 16 of them
        return bool((Decimal if isinstance(wanted, int) else float)(value) == wanted)
    except (ValueError, ArithmeticError):
        return False


def _typed(value: Any, column: Column | None) -> tuple[Any, str | None]:
    """A cell as its column wants it, and what is wrong with it or None.

    NaN is no value, and neither is "" of a number or in a column whose cells may be empty.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None, None
    if column is None:
        return _clean(value)
    if column.empty and value == "":
        return None, None
    if column.kind == "number":
        return _number(value)
    if column.kind == "time":
        return _time(value)
    if column.kind == "category" and isinstance(value, str | bool | int | float | Decimal):
        return _label(value)
    if not isinstance(value, str):
        return None, f"not text but {type(value).__name__}"
    return _clean(value)


def _label(value: str | bool | float | Decimal) -> tuple[str | None, str | None]:
    if isinstance(value, float) and not math.isfinite(value):  # JSON's 1e400, which no float holds
        return None, f"not a finite number: {value}"
    return _clean(label_name(value))


def _parts(value: Any, text: Any, told: Told) -> tuple[Any, str | None]:
    value, wrong = told(value, text if isinstance(text, str) else None)
    value, broken = _clean(value)
    return value, wrong or broken


def _number(value: Any) -> tuple[float | None, str | None]:
    if value == "":
        return None, None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None, f"not a number: {str(value)[:50]!r}"
    if math.isnan(number):
        return None, None
    return (number, None) if math.isfinite(number) else (None, f"not a finite number: {value}")


def _time(value: Any) -> tuple[str | None, str | None]:
    text = None if value == "" else time_text(value)
    wrong = value != "" and text is None
    return text, f"not a time (a date of ISO 8601, or a number): {str(value)[:50]!r}" if wrong else None


def _clean(value: Any) -> tuple[Any, str | None]:
    """Text without halves of characters (Parquet holds none): they are spelt out, and said."""
    if not isinstance(value, str) or value.isascii():
        return value, None
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return spelt(value), "holds half a character (a lone surrogate)"
    return value, None
