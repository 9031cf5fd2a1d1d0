"""jsonl: one JSON object a line; a .json file may also hold one array of objects, or objects over several lines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import chain
from typing import IO, Any

from core.errors import BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import (
    BLANK,
    MAX_CHARS,
    Lines,
    TooLong,
    files_of,
    open_text,
    readable,
    suffix_of,
    undecoded,
)
from pipelines.sources.tabular.json_values import Values

SUFFIXES = (".jsonl", ".ndjson", ".json")
_WHITE = "\ufeff \t\r\n"


class _Object(dict[str, Any]):
    """A JSON object in which names stand twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.twice = sorted(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    needed = data.needed(contract).keys()
    for found in files_of(files, SUFFIXES):
        whole = suffix_of(found.name) == ".json" and not _is_lines(found, data.encoding)
        with open_text(found, data.encoding) as file:
            records = _values(file, found, data.encoding) if whole else _lines(Lines(file), found, data.encoding)
            notes = list[str]()
            yield Table(found.name, None, _without_odd_names(records, needed, found, notes), notes)


def _is_lines(found: Found, encoding: str) -> bool:
    """Whether the first line that is not blank is a JSON object, or no JSON at all that begins like one of several."""
    with open_text(found, encoding) as file, readable(found, encoding):
        try:
            first = next((line for line in Lines(file) if line.strip(_WHITE)), "")
        except TooLong:
            return False
    try:
        return isinstance(json.loads(first.strip(_WHITE)), dict)
    except (ValueError, RecursionError):
        return not first.lstrip(_WHITE).startswith(("[", "{"))


def _lines(lines: Lines, found: Found, encoding: str) -> Iterator[Record]:
    while True:
        try:
            with readable(found, encoding):
                line = next(lines).strip(_WHITE)
        except StopIteration:
            return
        except TooLong as error:
            yield Record({}, f"{found.name}:{lines.number}", fault=str(error))
            continue
        place = f"{found.name}:{lines.number}"
        yield _record(line, place, encoding) if line else Record({}, place, left_out=BLANK)


def _record(line: str, place: str, encoding: str) -> Record:
    fault = undecoded(line, encoding)
    try:
        values = None if fault else json.loads(line, object_pairs_hook=_of_pairs)
        if isinstance(values, dict):
            return Record(values, place)
        fault = fault or f"not a JSON object but {type(values).__name__}"
    except json.JSONDecodeError as error:
        fault = f"not JSON ({error.msg}, column {error.colno})"
    except (ValueError, RecursionError) as error:
        fault = f"not JSON that can be read ({error})"
    return Record({}, place, fault=fault, raw=line)


def _values(file: IO[str], found: Found, encoding: str) -> Iterator[Record]:
    """The objects of a whole file. Raises BadRequest behind the last that can be read, where the text is no JSON."""
    values = Values(file, MAX_CHARS, object_pairs_hook=_of_pairs)
    while True:
        try:
            with readable(found, encoding):
                text, value = next(values)
        except StopIteration:
            return
        except (ValueError, RecursionError) as error:
            told = f"{error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)
            raise BadRequest(
                f"{found.name}:{values.line}: not JSON ({told}). What stands behind it cannot be read. "
                "Correct the file, or write an object a line."
            ) from None
        place, fault = f"{found.name}:{values.line}", undecoded(text, encoding)
        if not isinstance(value, dict):
            fault = fault or f"not a JSON object but {type(value).__name__}"
        yield Record({} if fault else value, place, fault=fault, raw=text if fault else None)


def _of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    return values if len(values) == len(pairs) else _Object(pairs)


def _without_odd_names(
    records: Iterator[Record], needed: Collection[str], found: Found, notes: list[str]
) -> Iterator[Record]:
    """Columns without a name are left out, as are those whose name stands twice; a row that needs one is bad."""
    left_out = Counter[str]()
    for record in records:
        values = record.values
        twice = values.twice if isinstance(values, _Object) else []
        if not twice and "" not in values:
            yield record
            continue
        if doubled := next((name for name in twice if name in needed), None):
            yield Record({}, record.place, fault=f"{doubled!r} stands there twice", raw=json.dumps(values))
            continue
        odd = {name for name in chain(twice, values) if name in twice or not name.strip()}
        left_out.update(repr(name) + (", which stands there twice," if name in twice else "") for name in odd)
        yield Record({name: value for name, value in values.items() if name not in odd}, record.place)
    notes += (f"{found.name}: {name} is left out, in {count:,} rows" for name, count in left_out.items())
