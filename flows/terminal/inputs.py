"""What `headrace predict` and `query` were given -> a model and its inputs (texts, or paths of media), filters."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from core.errors import BadRequest

TABLES = (".txt", ".csv", ".tsv", ".jsonl")


def read_inputs(arguments: Sequence[str], *, content: str, media: bool, stdin: TextIO) -> list[str]:
    """The inputs in order. content: the column that a csv or jsonl file holds them in.

    An argument is an input; `-` stands for the lines of stdin, and a file of TABLES for the rows in it. A model of
    media takes paths, and every other file is one. Without arguments stdin is read.
    """
    found: list[str] = []
    for argument in arguments or ["-"]:
        path = Path(argument.removeprefix("@")) if argument.startswith("@") else Path(argument)
        if argument == "-":
            found += [line for _, line in _numbered(stdin)]
        elif argument.startswith("@") or (path.suffix.lower() in TABLES and " " not in argument):
            found += _rows(path, content)
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


def _rows(path: Path, content: str) -> list[str]:
    """One input a line of a text file, or a row of a table."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix.lower() in (".csv", ".tsv"):
                return list(_of_csv(file, path, content))
            if path.suffix.lower() == ".jsonl":
                return [_of_json(line, f"{path}:{number}", content) for number, line in _numbered(file)]
            return [line for _, line in _numbered(file)]
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read ({error.strerror}). Text that is no file goes to stdin.") from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    except csv.Error as error:
        raise BadRequest(f"{path}: not CSV ({error}).") from None


def _of_csv(file: TextIO, path: Path, content: str) -> Iterator[str]:
    rows = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    columns = rows.fieldnames or []
    if content not in columns:
        raise BadRequest(
            f"{path}:1: no column {content!r}. It has: {', '.join(columns)}. Rename the one that is meant."
        )
    for row in rows:
        yield row[content] or ""


def _of_json(line: str, place: str, content: str) -> str:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"{place}: not JSON ({error}).") from None
    if isinstance(value, dict) and isinstance(value.get(content), str):
        return str(value[content])
    if isinstance(value, str):
        return value
    raise BadRequest(f"{place}: must be a string, or an object with the text under {content!r}.")


def _numbered(file: TextIO) -> Iterator[tuple[int, str]]:
    """Lines that hold something, and their numbers from 1."""
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield number, line.rstrip("\r\n")
