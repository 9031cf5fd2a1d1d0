"""How files are read into rows: one file here is one format, found by listing the folder.

A file whose name starts with an underscore holds what several share. Heavy libraries are imported when they are used.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from core.errors import BadRequest
from core.schema.columns import Contract, set_aside
from core.schema.data import Data, SplitName, SplitSource, SqlSource
from pipelines.sources import scheme
from pipelines.sources._files import Files, Table
from pipelines.sources._opening import suffix_of

READERS = Path(__file__).parent
_ROWS_BY_THEMSELVES = ("sql", "hub")
SPLIT = "split"  # the column that says from which published split a row came


class Reader(Protocol):
    """One format of files."""

    SUFFIXES: Sequence[str]  # lower case, with the dot; empty for a reader of whole folders

    def read(self, files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
        """Tables of rows, in the order of the files. A row that cannot be read is a Record with a fault.

        Raises BadRequest for a file that is not of this format at all, BadData for one with nothing in it.
        """


def reader_names() -> list[str]:
    return sorted(path.stem for path in READERS.glob("*.py") if not path.stem.startswith("_"))


def reader_file(source: str | SqlSource | SplitSource, reader: str | None) -> Path | None:
    """The file of this folder that reads the source's files: the one named `reader`, or by the source's own name.

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
        return READERS / f"{reader}.py"
    if name := _of_tables().get(suffix_of(_path(str(source)))):
        return READERS / f"{name}.py"
    raise BadRequest(f"the name {source!r} does not say how to read it: add `reader:`. Allowed: {', '.join(names)}")


def find_reader(file: Path) -> Reader:
    """The reader in a file that reader_file() found."""
    return _load(file.stem)


def tables(reader: Path, files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    """What a reader makes of a source's files; those of published splits get the column `split`, beside their own."""
    read = find_reader(reader).read
    if not files.splits:
        yield from read(files, data=data, contract=contract)
    for split, part in files.splits.items():
        for table in read(part, data=data, contract=contract):
            yield _in_split(table, split)


def _in_split(table: Table, split: SplitName) -> Table:
    columns = None if table.columns is None else [*(set_aside(name, (SPLIT,)) for name in table.columns), SPLIT]
    records = (replace(record, values={**_apart(record.values), SPLIT: split}) for record in table.records)
    return replace(table, columns=columns, records=records)


def _apart(values: Mapping[str, Any]) -> dict[str, Any]:
    return {set_aside(name, (SPLIT,)): value for name, value in values.items()}


def is_table(name: str) -> bool:
    """Whether a file of this name is many rows: the one list, for those who collect documents and who serve them."""
    return suffix_of(name) in _of_tables()


def table_reader(name: str) -> Reader:
    """What reads a file of which is_table() holds."""
    return _load(_of_tables()[suffix_of(name)])


@cache
def _of_tables() -> Mapping[str, str]:
    """Each suffix of a table, not packed, and the reader that it says."""
    return {suffix: name for name in reader_names() for suffix in _load(name).SUFFIXES}


def _path(source: str) -> str:
    """Without what stands behind a URL's `?` or `#`."""
    try:
        return urlsplit(source).path
    except ValueError:  # no URL: brackets
        return source


def _load(name: str) -> Reader:
    return cast(Reader, importlib.import_module(f"pipelines.sources.readers.{name}"))
