"""What `headrace predict` and `query` were given -> a model and its inputs (texts, or paths of media), filters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from core.errors import BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files
from pipelines.sources.readers import is_table, table_reader


def read_inputs(arguments: Sequence[str], *, content: str, media: bool, stdin: TextIO) -> list[str]:
    """The inputs in order. content: the column that a table holds them in.

    An argument is an input; `-` stands for the lines of stdin, a .txt file for its lines, a table (csv, jsonl, parquet,
    packed ones too) for its rows, @FILE for either. A model of media takes paths, and every other file is one. Without
    arguments stdin is read.
    """
    found: list[str] = []
    for argument in arguments or ["-"]:
        of_rows = argument.lower().endswith(".txt") or is_table(argument)
        if argument == "-":
            found += _lines(stdin)
        elif argument.startswith("@") or (of_rows and " " not in argument):
            found += _rows(Path(argument.removeprefix("@")), content)
        else:
            found.append(argument)
    if media and (missing := [path for path in found if not Path(path).is_file()]):
        raise BadRequest(f"{missing[0]}: no such file. This model takes paths of files.")
    return found


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


def _rows(path: Path, content: str) -> Iterator[str]:
    """One input a line of a text file, or a row of a table."""
    try:
        if is_table(path.name):
            yield from _of_table(path, content)
        else:
            with path.open(encoding="utf-8") as file:
                yield from _lines(file)
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read ({error.strerror}). Text that is no file goes to stdin.") from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from None


def _of_table(path: Path, content: str) -> Iterator[str]:
    """Read as `collect` reads a source. A row that it would set aside stops here: nobody would miss its answer."""
    files, contract = Files(path.parent, (path,)), Contract({}, content)
    for table in table_reader(path.name).read(files, data=Data(source=str(path)), contract=contract):
        if table.columns is not None and content not in table.columns:
            has = ", ".join(table.columns)
            raise BadRequest(f"{path}:1: no column {content!r}. It has: {has}. Rename the one that is meant.")
        for row in table.records:
            text = row.values.get(content)
            if row.fault or not isinstance(text, str):
                raise BadRequest(f"{row.place}: {row.fault or f'it has no text under {content!r}'}.")
            yield text


def _lines(file: TextIO) -> Iterator[str]:
    """Lines that hold something."""
    return (line.rstrip("\r\n") for line in file if line.strip())
