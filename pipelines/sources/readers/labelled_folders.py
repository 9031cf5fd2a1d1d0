"""labelled_folders: SOURCE/LABEL/.../file, one file an example; `label` is the name of its first folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import one_file

SUFFIXES = ()


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    columns = ("label", "path") if contract.media else ("label", "path", "text")
    yield Table(str(data.source), (*columns, *data.name_columns), (_record(found, data, contract) for found in files))


def _record(found: Found, data: Data, contract: Contract) -> Record:
    label, inside, _ = found.name.partition("/")
    made = one_file(found, data, contract, {"label": label if inside else None})
    return made if inside else replace(made, fault="lies in no labelled folder")
