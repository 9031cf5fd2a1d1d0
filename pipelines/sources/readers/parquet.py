"""parquet: a table in Apache Parquet, read a batch at a time; a decimal of scale 0 is an integer."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from core.errors import BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from core.tables.row_groups import batches
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import files_of, open_binary, too_long
from pipelines.sources.tabular.header import Header, header_of

SUFFIXES = (".parquet", ".pq")
# Beside Arrow's own: text that is not UTF-8, times beyond the year 9999, types that Python lacks.
_FAULTS = (OSError, ValueError, OverflowError, NotImplementedError, TypeError)
_BATCH_ROWS = 1000
_BUFFER_BYTES = 2**20  # pages are read through it, rather than whole column chunks


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    needed = data.needed(contract).keys()
    for found in files_of(files, SUFFIXES):
        with open_binary(found) as file:
            try:
                table = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            except (pa.ArrowException, *_FAULTS) as error:
                raise _broken(found, error) from None
            header = header_of(table.schema_arrow.names, needed, found.name)
            yield Table(found.name, header.names, _records(table, header, found), list(header.notes))


def _records(table: Any, header: Header, found: Found) -> Iterator[Record]:
    import pyarrow as pa

    number = 0
    read = batches(table, _BATCH_ROWS)
    while True:
        try:
            batch = next(read, None)
        except (pa.ArrowException, *_FAULTS) as error:
            raise _broken(found, error) from None
        if batch is None:
            return
        columns = {name: _cells(column) for name, column in header.values(batch.columns).items()}
        for at in range(batch.num_rows):
            number += 1
            row = {name: cells[at] for name, cells in columns.items()}
            fault = next(filter(None, (_fault(name, cell) for name, cell in row.items())), None)
            yield Record({} if fault else row, f"{found.name}:{number}", fault=fault)


class _Unreadable(str):
    """Why a cell has no value in Python."""


def _cells(column: Any) -> list[Any]:
    import pyarrow as pa

    try:
        cells = column.to_pylist()
    except (pa.ArrowException, *_FAULTS):
        cells = [_cell(each) for each in column]
    if pa.types.is_decimal(column.type):
        return list(map(_whole, cells))
    return list(map(_exact, cells)) if pa.types.is_timestamp(column.type) else cells


def _cell(scalar: Any) -> Any:
    """A cell of a column of which one cannot be read: as text where it has no value in Python."""
    import pyarrow as pa

    try:
        return scalar.as_py()
    except (pa.ArrowException, *_FAULTS) as error:
        try:
            if pa.types.is_timestamp(scalar.type):  # Arrow's text of it says no more than that it is out of range
                return f"{scalar.value} {scalar.type.unit} after 1970-01-01"
            return scalar.cast(pa.string()).as_py()
        except (pa.ArrowException, *_FAULTS):
            return _Unreadable(str(error).splitlines()[0] if str(error) else type(error).__name__)


def _whole(value: Decimal | None) -> Decimal | int | None:
    return int(value) if value is not None and value.as_tuple().exponent == 0 else value


def _exact(value: Any) -> Any:
    """A time; as text where it has more digits than Python's times have."""
    if not hasattr(value, "nanosecond"):
        return value
    return value.isoformat() if value.nanosecond else value.to_pydatetime()


def _fault(name: str, cell: Any) -> str | None:
    return f"{name}: cannot be read ({cell})" if isinstance(cell, _Unreadable) else too_long(name, cell)


def _broken(found: Found, error: Exception) -> BadRequest:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return BadRequest(
        f"{found.name}: not a Parquet file, or one that was cut off ({reason}). Fetch {found.path} again."
    )
