"""How files are read into rows: one file here, or in published/, is one format, found by listing the folders.

A file whose name starts with an underscore holds what several share. Heavy libraries are imported when they are used.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import unquote

from core.errors import BadRequest
from core.schema.columns import DOCUMENTS, Contract, set_aside
from core.schema.data import Data, SplitName, SplitSource, SqlSource
from pipelines.sources import scheme
from pipelines.sources._files import Files, Table
from pipelines.sources._opening import download_name, suffix_of

READERS = Path(__file__).parent
_ROWS_BY_THEMSELVES = ("sql", "hub")
_OF_FILES = {"folders": "id", "labelled_folders": "label"}  # each file is a row -> what they say of it themselves
_JSON = ".json"
SPLIT = "split"  # the column that says from which published split a row came


class Reader(Protocol):
    """One format of files."""

    SUFFIXES: Sequence[str]  # lower case, with the dot; empty for a reader of whole folders

    def read(self, files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
        """Tables of rows, in the order of the files. A row that cannot be read is a Record with a fault.

        Raises BadRequest for a file that is not of this format at all, BadData for one with nothing in it.
        """


def reader_names() -> list[str]:
    return sorted(_files())


@cache
def _files() -> Mapping[str, Path]:
    return {path.stem: path for path in READERS.rglob("*.py") if not path.stem.startswith("_")}


def reader_file(source: str | SqlSource | SplitSource, reader: str | None) -> Path | None:
    """The file of these folders that reads the source's files: the one named `reader`, or by the source's own name.

    None for a source that hands over rows by itself. Raises BadRequest when nothing fits, naming what is allowed.
    """
    names = reader_names()
    if isinstance(source, SplitSource):
        found = {reader_file(address, reader) for address in source.addresses.values()}
        if len(found) > 1:
            raise BadRequest(
                f"the names of the splits say different readers: add `reader:`. Allowed: {', '.join(names)}"
            )
        return found.pop()
    if scheme(source) in _ROWS_BY_THEMSELVES:
        if reader:
            raise BadRequest(f"{scheme(source)} hands over rows: it takes no reader, got {reader!r}")
        return None
    if reader:
        if reader not in names:
            raise BadRequest(f"no reader {reader!r}. Allowed: {', '.join(names)}")
        return _files()[reader]
    for name in _names(str(source)):
        if found_name := _of_tables().get(suffix_of(name)):
            return _files()[found_name]
    raise BadRequest(f"the name {source!r} does not say how to read it: add `reader:`. Allowed: {', '.join(names)}")


def find_reader(file: Path) -> Reader:
    """The reader in a file that reader_file() found."""
    return _load(file.stem)


def tables(reader: Path, files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    """What a reader makes of a source's files; those of published splits get the column `split`, beside their own."""
    read, mistake = find_reader(reader).read, _mistaken_pattern(reader, data, contract)
    if mistake:
        raise BadRequest(f"data.name_pattern: {mistake}")
    if not files.splits:
        yield from read(files, data=data, contract=contract)
    for split, part in files.splits.items():
        for table in read(part, data=data, contract=contract):
            yield _in_split(table, split)


def _mistaken_pattern(reader: Path, data: Data, contract: Contract) -> str | None:
    """Why names of files cannot say columns here; None where they can, or are not asked."""
    if data.name_pattern is None:
        return None
    own = _OF_FILES.get(reader.stem)
    if contract == DOCUMENTS:
        return "documents have no columns that their names say. Leave it out."
    if own is None:
        return f"it is of files that are one example each (reader {' or '.join(_OF_FILES)})."
    if taken := sorted({own, "path", "text"} & set(data.name_columns)):
        return f"the reader {reader.stem} says {taken[0]!r} itself. Call that part otherwise."
    return None


def _in_split(table: Table, split: SplitName) -> Table:
    columns = None if table.columns is None else [*(set_aside(name, (SPLIT,)) for name in table.columns), SPLIT]
    records = (replace(record, values={**_apart(record.values), SPLIT: split}) for record in table.records)
    return replace(table, columns=columns, records=records)


def _apart(values: Mapping[str, Any]) -> dict[str, Any]:
    return {set_aside(name, (SPLIT,)): value for name, value in values.items()}


def is_table(name: str) -> bool:
    """Whether a file of this name is many rows."""
    return suffix_of(name) in _of_tables()


def holds_documents(name: str) -> bool:
    """Whether a file among documents is many of them: the one list, for those who collect and who serve them.

    A .json file there is a text: settings and answers of programs are more often in one than rows.
    """
    return is_table(name) and suffix_of(name) != _JSON


def table_reader(name: str) -> Reader:
    """What reads a file of which is_table() holds."""
    return _load(_of_tables()[suffix_of(name)])


@cache
def _of_tables() -> Mapping[str, str]:
    """Each suffix of a table, not packed, and the reader that it says."""
    return {suffix: name for name in reader_names() for suffix in _load(name).SUFFIXES}


def _names(source: str) -> tuple[str, ...]:
    """What a source's file may be called: a path as it is, with `#`, `?` and %; an address also without its query."""
    kind = scheme(source)
    if kind in ("http", "https"):
        return (download_name(source),)
    if kind == "file":
        return (unquote(source),)
    return (source, re.split("[?#]", source)[0]) if kind else (source,)


def _load(name: str) -> Reader:
    module = ".".join(_files()[name].relative_to(READERS).with_suffix("").parts)
    return cast(Reader, importlib.import_module(f"pipelines.sources.readers.{module}"))
