"""Columns of a table as numbers: options, what is learnt of the training rows, and rows in it.

A number is standardised. A date becomes five numbers. A category becomes the number of its value: MISSING where there
is none, OTHER for a value that the training rows have not, or rarely. A missing number stays NaN: each model has its
own way with it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from core.atomic_files import read_json, write_json
from core.errors import BadRequest
from core.schema.columns import Column
from core.schema.section import Section
from core.schema.times import as_number, is_date, time_text
from core.tables.keys import label_name

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

NAMED: Mapping[str, Column] = {  # options that name columns -> what those hold
    "numbers": Column("number", feature=True),
    "categories": Column("category", feature=True),
    "dates": Column("time", feature=True),
}
MISSING, OTHER, FIRST = 0, 1, 2  # numbers of categories; FIRST: of the first value that has one of its own
PARTS = 5  # of a date: see _parts()
_FILE = "columns.json"
_NUMBERS, _CATEGORIES = "numbers", "categories"  # of encoded rows

Array = np.ndarray[Any, np.dtype[Any]]


class Options(Section):
    numbers: Annotated[list[str], Field(description="columns of numbers that are inputs")] = Field(default_factory=list)
    categories: Annotated[list[str], Field(description="columns of one of a few values each that are inputs")] = Field(
        default_factory=list
    )
    dates: Annotated[list[str], Field(description="columns of dates that are inputs")] = Field(default_factory=list)
    most_categories: Annotated[
        int, Field(ge=2, le=250, description="values of a category that are told apart: the commonest; others are one")
    ] = 100

    @model_validator(mode="after")
    def _fit(self) -> Options:
        names = self.columns
        if not names:
            raise ValueError("name the columns that are inputs under numbers, categories or dates")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"numbers, categories and dates name {twice[0]!r} twice")
        return self

    @property
    def columns(self) -> list[str]:
        return [*self.numbers, *self.categories, *self.dates]


class Columns(Options):
    """The options, and what prepare() learnt.

    mean, deviation: of each number, those of dates behind the columns of numbers. values: of each category, by number.
    """

    mean: list[float]
    deviation: list[float]
    values: list[list[str]]

    @property
    def width(self) -> int:
        """Numbers of a row, those of its dates with them."""
        return len(self.mean)

    @property
    def sizes(self) -> list[int]:
        """How many numbers each category may become."""
        return [FIRST + len(values) for values in self.values]

    @property
    def features(self) -> dict[str, Column]:
        """What each input holds."""
        return {name: column for option, column in NAMED.items() for name in getattr(self, option)}


def prepare(batches: Iterable[pd.DataFrame], options: Options, folder: Path) -> None:
    """Learn mean and deviation of each number, and the commonest values of each category."""
    width = len(options.numbers) + PARTS * len(options.dates)
    count, mean, squares = np.zeros(width), np.zeros(width), np.zeros(width)
    values: list[Counter[str]] = [Counter() for _ in options.categories]
    for rows in batches:  # Chan, Golub and LeVeque 1983: the sums of parts, joined without loss of digits
        numbers = _numbers(rows, options)
        known = ~np.isnan(numbers)
        here = known.sum(axis=0)
        total = np.maximum(count + here, 1)
        own = np.where(known, numbers, 0).sum(axis=0) / np.maximum(here, 1)
        squares += (np.where(known, numbers - own, 0) ** 2).sum(axis=0) + (own - mean) ** 2 * count * here / total
        mean += (own - mean) * here / total
        count += here
        for name, counter in zip(options.categories, values, strict=True):
            counter.update(value for each in rows[name] if (value := _value(each)) is not None)
    deviation = np.sqrt(squares / np.maximum(count, 1))
    commonest = [_commonest(counter, options.most_categories) for counter in values]
    learnt = {
        "mean": mean.tolist(), "deviation": np.where(deviation > 0, deviation, 1.0).tolist(), "values": commonest,
    }  # fmt: skip
    write_json(folder / _FILE, options.model_dump() | learnt)


def read(folder: Path) -> Columns:
    """What prepare() left."""
    return Columns.model_validate(read_json(folder / _FILE))


def arrays(rows: pd.DataFrame, known: Columns) -> tuple[Array, Array]:
    """Rows as they are sent or were collected -> numbers (rows, width) float32 and categories (rows, columns) int64.

    A column that is not there is missing in every row. Raises BadRequest for a cell that is no number, date or text.
    """
    numbers = (_numbers(rows, known) - np.array(known.mean)) / np.array(known.deviation)
    categories = np.zeros((len(rows), len(known.categories)), np.int64)
    for at, (name, values) in enumerate(zip(known.categories, known.values, strict=True)):
        if name in rows:
            places = {value: FIRST + place for place, value in enumerate(values)}
            told = (_value(each) for each in rows[name])
            categories[:, at] = [MISSING if each is None else places.get(each, OTHER) for each in told]
    return numbers.astype(np.float32), categories


def encoded(rows: pd.DataFrame, known: Columns) -> pa.Table:
    """The same as lists of fixed length; a kind of column that there is none of is left out."""
    import pyarrow as pa

    numbers, categories = arrays(rows, known)
    found = {_NUMBERS: numbers, _CATEGORIES: categories.astype(np.int32)}
    columns = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])
        for name, array in found.items()
        if array.shape[1]
    }
    return pa.table(columns)


def of_table(table: pa.Table) -> tuple[Array, Array]:
    """Encoded rows back as arrays() gives them."""
    found = []
    for name, kind in ((_NUMBERS, np.float32), (_CATEGORIES, np.int64)):
        if name in table.column_names:
            flat = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            found.append(flat.reshape(table.num_rows, -1).astype(kind, copy=False))
        else:
            found.append(np.zeros((table.num_rows, 0), kind))
    return found[0], found[1]


def stacked(rows: Sequence[Mapping[str, Any]]) -> tuple[Array, Array]:
    """A batch of encoded rows, likewise."""
    numbers, categories = (
        np.stack([row[name] for row in rows]) if name in rows[0] else np.zeros((len(rows), 0))
        for name in (_NUMBERS, _CATEGORIES)
    )
    return numbers.astype(np.float32), categories.astype(np.int64)


def _numbers(rows: pd.DataFrame, options: Options) -> Array:
    """(rows, numbers and parts of dates) float64, NaN where there is none."""
    found = [
        *(_read(rows, name, _number, 1, "finite number") for name in options.numbers),
        *(_read(rows, name, _parts, PARTS, "date (ISO 8601) or number") for name in options.dates),
    ]
    return np.concatenate(found, axis=1) if found else np.zeros((len(rows), 0))


def _read(rows: pd.DataFrame, name: str, read: Callable[[Any], Any], width: int, what: str) -> Array:
    """(rows, width) of one column. read: of a cell, its numbers or None for what is none."""
    found = np.full((len(rows), width), np.nan)
    if name not in rows:
        return found
    cells = rows[name]
    if cells.dtype.kind == "f" and width == 1 and not np.isinf(cells).any():
        return cells.to_numpy(np.float64)[:, None]
    for row, cell in enumerate(cells):
        if cell is None or cell == "" or cell != cell:
            continue
        if (numbers := read(cell)) is None:
            raise BadRequest(f"input {row + 1}, column {name!r}: must be a {what}, got {str(cell)[:80]!r}.")
        found[row] = numbers
    return found


def _number(cell: Any) -> float | None:
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isinf(number) else number


def _parts(cell: Any) -> tuple[float, ...] | None:
    """The time itself; of a date also its month, day of the month, day of the week (Monday is 0) and hour, in UTC."""
    text = time_text(cell)
    if text is None:
        return None
    if not is_date(text):
        return (as_number(text), *[math.nan] * (PARTS - 1))
    moment = datetime.fromisoformat(text)
    return (as_number(text), moment.month, moment.day, moment.weekday(), moment.hour)


def _value(cell: Any) -> str | None:
    """The name of a category's value; None where there is none."""
    return label_name(cell) or None


def _commonest(counter: Counter[str], most: int) -> list[str]:
    """By frequency, then by name."""
    return sorted(counter, key=lambda value: (-counter[value], value))[:most]
