"""csv: rows of delimited text (RFC 4180). A comma stands between fields, in .tsv a tab. The first line names the
columns, unless `header:` does: then every line is a row.

Where `delimiter:` does not say which character it is, and the header has the needed columns by another of these alone,
it is that one, and this is said. Excel's first line `sep=;` says it too.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Collection, Iterator, Mapping

from core.errors import BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import (
    BLANK,
    BYTE_ORDER_MARK,
    MAX_CHARS,
    Lines,
    TooLong,
    files_of,
    not_text,
    open_text,
    readable,
    suffix_of,
)
from pipelines.sources.tabular.header import Header, header_of
from pipelines.sources.tabular.quoted_rows import Row, Rows

SUFFIXES = (".csv", ".tsv")
_HEADER_AGAIN = "header again"  # the rule by which such a line is no row
_DELIMITERS = (",", ";", "\t", "|")
_SAID = re.compile(r"sep=(.)\r?\n?")


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    csv.field_size_limit(MAX_CHARS)
    for found in files_of(files, SUFFIXES):
        with open_text(found, data.encoding, newline=_line_end(found, data.encoding)) as file:
            rows = Rows(Lines(file), "\t" if suffix_of(found.name) == ".tsv" else ",")
            header, notes = _read_header(rows, found, data, contract)
            rows.width = len(header.all)
            yield Table(found.name, header.names, _records(rows, header, found, data.encoding), notes)


def _line_end(found: Found, encoding: str) -> str:
    """Where the first line ends in a carriage return alone, such ends are taken; elsewhere they are no line ends."""
    with open_text(found, encoding) as file:
        try:
            line = next(Lines(file), "")
        except TooLong:
            line = ""
    return "" if line.endswith("\r") else "\n"


def _read_header(rows: Rows, found: Found, data: Data, contract: Contract) -> tuple[Header, list[str]]:
    """The header, and what is to be said of how it was read."""
    notes, default, usual = list[str](), rows.delimiter, data.delimiter
    needed = data.needed(contract).keys()
    if data.header is not None:
        rows.read_by(usual or default)
        return header_of(data.header, needed, "data.header"), []
    try:
        if blank := _skip_blank_lines(rows):
            notes.append(f"{found.name}: blank lines before the header are left out: {blank}")
        if said := _SAID.fullmatch(rows.first_line()):
            rows.skip_line()
            usual = usual or said[1]
        names, delimiter = _names(rows, needed, usual, found)
    except (StopIteration, TooLong) as error:
        raise BadRequest(f"{found.name}:1: the header cannot be read: {error or 'there is none'}.") from None
    if data.delimiter is None and delimiter != default:
        notes.append(f"{found.name}: its fields are separated by {delimiter!r}")
    if fault := not_text(",".join(names), data.encoding):
        hint = "say `encoding:`, UTF-16 perhaps" if "NUL" in fault else "say `encoding:`"
        raise BadRequest(f"{found.name}:1: the header is {fault}. Save it so, or {hint}.")
    header = header_of(names, needed, f"{found.name}:1")
    return header, [*notes, *header.notes]


def _skip_blank_lines(rows: Rows) -> int:
    """How many there were."""
    count = 0
    while not rows.first_line().strip():
        rows.skip_line()
        count += 1
    return count


def _names(rows: Rows, needed: Collection[str], usual: str | None, found: Found) -> tuple[list[str], str]:
    """The names in the header, and the delimiter by which they are read: the first by which all needed ones are there.

    By none: the usual one; and where that finds one name only, the one that finds most.
    """
    tried: dict[str, Row] = {}
    for delimiter in (usual,) if usual else dict.fromkeys((rows.delimiter, *_DELIMITERS)):
        rows.read_by(delimiter)
        tried[delimiter] = next(rows)
        rows.back()
    first = next(iter(tried))
    fits = (each for each, row in tried.items() if needed and not row.fault and set(row.fields) >= set(needed))
    most = max(tried, key=lambda each: len(tried[each].fields))
    chosen = next(fits, most if len(tried[first].fields) == 1 else first)
    rows.read_by(chosen)
    row = next(rows)
    if row.fault:
        raise BadRequest(f"{found.name}:1: the header cannot be read: {row.fault.removeprefix('not CSV: ')}.")
    return row.fields, chosen


def _records(rows: Rows, header: Header, found: Found, encoding: str) -> Iterator[Record]:
    while True:
        with readable(found, encoding):
            row = next(rows, None)
        if row is None:
            return
        place = f"{found.name}:{row.number}"
        if row.fault:
            yield Record({}, place, fault=row.fault, raw=row.raw)
        elif rule := _left_out(row.fields, header):
            yield Record({}, place, left_out=rule)
        else:
            values = header.values(row.fields)
            fault = _fault(values, encoding) if not_text("".join(row.fields), encoding) else None
            yield Record(values, place, fault=fault)


def _fault(values: Mapping[str, str], encoding: str) -> str | None:
    faults = (f"{name}: {said}" for name, value in values.items() if (said := not_text(value, encoding)))
    return next(faults, None)


def _left_out(fields: list[str], header: Header) -> str | None:
    """The rule by which a line is no row: nothing stands in it, or the header once more (of files that were joined)."""
    if not "".join(fields).strip():
        return BLANK
    if len(fields) > 1 and [fields[0].removeprefix(BYTE_ORDER_MARK), *fields[1:]] == header.all:
        return _HEADER_AGAIN
    return None
