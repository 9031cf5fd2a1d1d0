"""What `headrace predict` and `query` were given -> a model and its inputs (texts, or paths of media), filters."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from pydantic import TypeAdapter

from core.errors import BadRequest
from core.schema.columns import Column, Contract
from core.schema.data import Data
from flows.terminal.output import say
from pipelines.sources._examples import Shape
from pipelines.sources._files import Files, Record
from pipelines.sources.readers import is_table, table_reader

_LISTED = ("number", "time")  # kinds of columns
Input = str | Mapping[str, Any]  # a text, or an object of columns


@dataclass(frozen=True)
class Read:
    """How the rows of a model were read when it was trained: its recipe's `data:`, and what is known of its columns."""

    data: Data
    contract: Contract


def read_as(settings: Mapping[str, Any] | None) -> Read | None:
    """How a recipe reads rows, as its settings.json says; None without one."""
    if settings is None or "examples" not in settings:
        return None
    data = {name: settings["data"].get(name) for name in ("columns", "encoding", "delimiter")}
    told = Data(source="", **{name: value for name, value in data.items() if value is not None})
    return Read(told, TypeAdapter(Contract).validate_python(settings["examples"]))


def read_inputs(
    arguments: Sequence[str],
    *,
    columns: Sequence[str],
    media: bool,
    stdin: TextIO,
    plain: bool = True,
    trained_on: Callable[[], Read | None] = lambda: None,
) -> list[Input]:
    """The inputs in order. columns: those that the model takes.

    plain: whether a mere text may stand for an input. trained_on: how tables are read; their columns have the names
    that the recipe gives, or those that the model takes.

    An argument is an input; `-` stands for the lines of stdin, a .txt file for its lines, a table (csv, jsonl, parquet,
    xlsx, packed ones too) for its rows, @FILE for either. A model of media takes paths, and every other file is one. A
    model of several columns, or of one that is no text, takes objects in JSON. Without arguments stdin is read.
    """
    texts = plain and len(columns) == 1
    found: list[Input] = []
    for argument in arguments or ["-"]:
        of_rows = argument.lower().endswith(".txt") or is_table(argument)
        if argument == "-":
            found += _lines(stdin)
        elif argument.startswith("@") or (of_rows and " " not in argument):
            found += _rows(Path(argument.removeprefix("@")), columns, trained_on(), texts=texts)
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


def _rows(path: Path, columns: Sequence[str], read: Read | None, *, texts: bool) -> Iterator[Input]:
    """One input a line of a text file, or a row of a table."""
    try:
        if is_table(path.name):
            yield from _of_table(path, columns, read, texts=texts)
        else:
            with path.open(encoding="utf-8-sig") as file:
                yield from _lines(file)
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read ({error.strerror}). Text that is no file goes to stdin.") from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from None


def _of_table(path: Path, columns: Sequence[str], read: Read | None, *, texts: bool) -> Iterator[Input]:
    """Read as `collect` reads a source. A row that it would set aside stops here: nobody would miss its answer."""
    files = Files(path.parent, (path,))
    shape = _shape(files, columns, read, texts=texts)
    for table in table_reader(path.name).read(files, data=shape.data, contract=shape.contract):
        lacking = sorted(shape.data.needed(shape.contract).keys() - set(table.columns or ()))
        if table.columns is not None and lacking:
            has = ", ".join(table.columns)
            raise BadRequest(f"{path}:1: no column {lacking[0]!r}. It has: {has}. Rename the one that is meant.")
        for record in table.records:
            if record.left_out is None:
                given = _given(record, columns, shape)
                if texts and not isinstance(given.get(columns[0]), str):
                    raise BadRequest(f"{record.place}: it has no text under {shape.source_name(columns[0])!r}.")
                yield given[columns[0]] if texts else given
        for note in table.notes:
            say(note)


def _shape(files: Files, columns: Sequence[str], read: Read | None, *, texts: bool) -> Shape:
    """What is read, and by which names: those that the recipe gives the source's columns, where the file has them."""
    data, known = (read.data, read.contract.columns) if read else (Data(source=""), {})
    wanted = {name: known[name] for name in columns if name in known}
    if texts:
        wanted = {columns[0]: known.get(columns[0], Column("text"))}
    contract = Contract(wanted, tuple(columns), media=read.contract.media if read else None)
    own = {name: source for name, source in data.columns.items() if name in columns}
    plain = Data(source=str(files.single), encoding=data.encoding, delimiter=data.delimiter)
    renamed = Shape(contract, plain.model_copy(update={"columns": own}), files.folder)
    return renamed if own and _has(files, renamed) else Shape(contract, plain, files.folder)


def _has(files: Files, shape: Shape) -> bool:
    """Whether a table has the columns of a shape, as far as its head, or its first row, tells."""
    found = next(table_reader(str(shape.data.source)).read(files, data=shape.data, contract=shape.contract), None)
    if found is None:
        return False
    names = found.columns
    if names is None:
        names = list(next((row.values for row in found.records if row.values), {}))
    return shape.data.needed(shape.contract).keys() <= set(names)


def _given(record: Record, columns: Sequence[str], shape: Shape) -> dict[str, Any]:
    """The columns of a row that are there, with the values that training has. Raises BadRequest for a fault.

    A list of numbers or times stays one: several rows of training are one input.
    """
    cells = {
        name: record.values[shape.source_name(name)] for name in columns if shape.source_name(name) in record.values
    }
    known = shape.contract.columns
    whole = {
        name: cell
        for name, cell in cells.items()
        if isinstance(cell, list) and name in known and known[name].kind in _LISTED
    }
    listed = {shape.source_name(name) for name in whole}
    rest = {name: cell for name, cell in record.values.items() if name not in listed}
    example = shape.example(replace(record, values=rest))
    if example.fault:
        raise BadRequest(f"{example.place}: {example.fault}.")
    given = {name: whole.get(name, example.values.get(name)) for name in cells}
    if example.media is not None:
        media = example.media
        given[str(shape.contract.file)] = base64.b64encode(media).decode() if isinstance(media, bytes) else str(media)
    return given


def _lines(file: TextIO) -> Iterator[str]:
    """Lines that hold something."""
    return (line.rstrip("\r\n") for line in file if line.strip())
