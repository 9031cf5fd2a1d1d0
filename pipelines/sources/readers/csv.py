"""csv: rows of comma-separated text with a header line (RFC 4180); .tsv is separated by tabs."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from core.errors import BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import MAX_CHARS, Lines, TooLong, files_of, open_text, readable, suffix_of, undecoded

SUFFIXES = (".csv", ".tsv")
_BYTE_ORDER_MARK = "\ufeff"


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    csv.field_size_limit(MAX_CHARS)
    for found in files_of(files, SUFFIXES):
        with open_text(found, data.encoding) as file:
            lines = Lines(file)
            rows = csv.reader(lines, delimiter="\t" if suffix_of(found.name) == ".tsv" else ",", strict=True)
            header = _header(rows, found, data.encoding)
            yield Table(found.name, header, _records(rows, lines, header, found, data.encoding))


def _header(rows: Iterator[list[str]], found: Found, encoding: str) -> list[str]:
    try:
        header = next(rows, [])
    except (csv.Error, TooLong) as error:
        raise BadRequest(f"{found.name}:1: the header cannot be read: {error}.") from None
    if header:
        header[0] = header[0].removeprefix(_BYTE_ORDER_MARK)
    fault = undecoded(",".join(header), encoding)
    if fault:
        raise BadRequest(f"{found.name}:1: the header is {fault}. Save it so, or say `encoding:`.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice or "" in header or not header:
        what = f"column {twice[0]!r} stands there twice" if twice else "a column has no name"
        raise BadRequest(f"{found.name}:1: {what}. The first line must name each column once, got: {', '.join(header)}")
    return header


def _records(
    rows: Iterator[list[str]], lines: Lines, header: list[str], found: Found, encoding: str
) -> Iterator[Record]:
    while True:
        place = f"{found.name}:{lines.number + 1}"
        try:
            with readable(found, encoding):
                fields = next(rows)
        except StopIteration:
            return
        except (csv.Error, TooLong) as error:  # the next line starts afresh
            last = f" (up to line {lines.number})" if place != f"{found.name}:{lines.number}" else ""
            yield Record({}, place, fault=f"not CSV: {error}{last}")
            continue
        if not fields:
            continue  # an empty line
        if len(fields) != len(header):
            fault = f"{len(fields)} fields where the header has {len(header)}"
            yield Record({}, place, fault=fault, raw="\x1f".join(fields))
            continue
        values = dict(zip(header, fields, strict=True))
        faults = (f"{name}: {said}" for name, value in values.items() if (said := undecoded(value, encoding)))
        yield Record(values, place, fault=next(faults, None))
