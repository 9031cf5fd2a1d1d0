"""What `headrace predict` and `query` were given -> a model and its inputs (texts, or paths of media), filters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from core.errors import BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files
from pipelines.sources.readers import is_table, table_reader

Input = str | Mapping[str, Any]  # a text, or an object of columns


def read_inputs(
    arguments: Sequence[str], *, columns: Sequence[str], media: bool, stdin: TextIO, plain: bool = True
) -> list[Input]:
    """The inputs in order. columns: those that the model takes; a table has them under these names.

    plain: whether a mere text may stand for an input.

    An argument is an input; `-` stands for the lines of stdin, a .txt file for its lines, a table (csv, jsonl, parquet,
    packed ones too) for its rows, @FILE for either. A model of media takes paths, and every other file is one. A model
    of several columns, or of one that is no text, takes objects in JSON. Without arguments stdin is read.
    """
    texts = plain and len(columns) == 1
    found: list[Input] = []
    for argument in arguments or ["-"]:
        of_rows = argument.lower().endswith(".txt") or is_table(argument)
        if argument == "-":
            found += _lines(stdin)
        elif argument.startswith("@") or (of_rows and " " not in argument):
            found += _rows(Path(argument.removeprefix("@")), columns, texts=texts)
        else:
            found.append(argument)
    if media and (missing := [path for path in found if isinstance(path, str) and not Path(path).is_file()]):
        raise BadRequest(f"{missing[0]}: no such file. This model takes paths of files.")
    return found if texts else [_object(one, columns, plain) for one in found]


def _object(one: Input, columns: Sequence[str], plain: bool) -> Input:
    """An input of a model that takes objects. Raises BadRequest for what is no object in JSON and must be one."""
    if not isinstance(one, str):
        return one
    try:
        told = json.loads(one)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        if plain:
            return one
        raise BadRequest(f"{one[:80]!r}: this model takes objects in JSON: {{{', '.join(map(json.dumps, columns))}}}.")
    return told


def parse_model(reference: str) -> tuple[str, str]:
    """Name, and version or alias, of MODEL (its champion), MODEL/VERSION or MODEL@ALIAS."""
    for mark in ("@", "/"):
        name, found, version = reference.partition(mark)
        if found and name and version:
            return name, version
    return reference, "champion"


def parse_filters(filters: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE each. Raises BadRequest."""
    pairs = {}
    for each in filters:
        key, found, value = each.partition("=")
        if not found or not key:
            raise BadRequest(f"--filter {each}: must be KEY=VALUE.")
        pairs[key] = value
    return pairs


def _rows(path: Path, columns: Sequence[str], *, texts: bool) -> Iterator[Input]:
    """One input a line of a text file, or a row of a table."""
    try:
        if is_table(path.name):
            yield from _of_table(path, columns, texts=texts)
        else:
            with path.open(encoding="utf-8") as file:
                yield from _lines(file)
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read ({error.strerror}). Text that is no file goes to stdin.") from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from None


def _of_table(path: Path, columns: Sequence[str], *, texts: bool) -> Iterator[Input]:
    """Read as `collect` reads a source. A row that it would set aside stops here: nobody would miss its answer."""
    files, contract = Files(path.parent, (path,)), Contract({}, tuple(columns))
    first = columns[0]
    for table in table_reader(path.name).read(files, data=Data(source=str(path)), contract=contract):
        if table.columns is not None and first not in table.columns:
            has = ", ".join(table.columns)
            raise BadRequest(f"{path}:1: no column {first!r}. It has: {has}. Rename the one that is meant.")
        for row in table.records:
            given = {name: row.values[name] for name in columns if name in row.values}
            if row.fault or (texts and not isinstance(given.get(first), str)):
                raise BadRequest(f"{row.place}: {row.fault or f'it has no text under {first!r}'}.")
            yield given[first] if texts else given


def _lines(file: TextIO) -> Iterator[str]:
    """Lines that hold something."""
    return (line.rstrip("\r\n") for line in file if line.strip())
