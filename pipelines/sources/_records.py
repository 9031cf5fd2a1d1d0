"""What a source or a reader hands on: rows as they stand there, each with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Record:
    """One row.

    values: by the source's own names; a picture is a Path or bytes. place: "reviews.csv:17".
    fault: why (a part of) it could not be read. raw: what stood there, where values do not say it.
    """

    values: Mapping[str, Any]
    place: str
    fault: str | None = None
    raw: str | None = None


@dataclass(frozen=True)
class Table:
    """Rows of one file, folder or query. columns: its names, or None when only the rows can tell."""

    name: str
    columns: Sequence[str] | None
    records: Iterator[Record] = field(repr=False)
