"""jsonl: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator

from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import Lines, TooLong, files_of, open_text, readable, undecoded

SUFFIXES = (".jsonl", ".ndjson")


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    for found in files_of(files, SUFFIXES):
        with open_text(found, data.encoding) as file:
            yield Table(found.name, None, _records(Lines(file), found, data.encoding))


def _records(lines: Lines, found: Found, encoding: str) -> Iterator[Record]:
    while True:
        try:
            with readable(found, encoding):
                line = next(lines).strip("\ufeff \t\r\n")
        except StopIteration:
            return
        except TooLong as error:
            yield Record({}, f"{found.name}:{lines.number}", fault=str(error))
            continue
        if line:
            yield _record(line, f"{found.name}:{lines.number}", encoding)


def _record(line: str, place: str, encoding: str) -> Record:
    fault = undecoded(line, encoding)
    try:
        values = None if fault else json.loads(line)
        if isinstance(values, dict):
            return Record(values, place)
        fault = fault or f"not a JSON object but {type(values).__name__}"
    except json.JSONDecodeError as error:
        fault = f"not JSON ({error.msg}, column {error.colno})"
    except (ValueError, RecursionError) as error:
        fault = f"not JSON that can be read ({error})"
    return Record({}, place, fault=fault, raw=line)
