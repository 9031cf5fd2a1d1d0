"""parquet: a table in Apache Parquet, read a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.errors import BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import files_of, open_binary, too_long

SUFFIXES = (".parquet", ".pq")
# Beside Arrow's own: text that is not UTF-8, times beyond the year 9999, types that Python lacks.
_FAULTS = (OSError, ValueError, OverflowError, NotImplementedError)
_BATCH_ROWS = 1000
_BUFFER_BYTES = 2**20  # pages are read through it, rather than whole column chunks


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for found in files_of(files, SUFFIXES):
        with open_binary(found) as file:
            try:
                table = pq.ParquetFile(file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
            except (pa.ArrowException, *_FAULTS) as error:
                raise _broken(found, error) from None
            yield Table(found.name, table.schema_arrow.names, _records(table, found))


def _records(table: Any, found: Found) -> Iterator[Record]:
    import pyarrow as pa

    number = 0
    try:
        for batch in table.iter_batches(batch_size=_BATCH_ROWS):
            for row in batch.to_pylist():
                number += 1
                fault = next(filter(None, (too_long(name, cell) for name, cell in row.items())), None)
                yield Record({} if fault else row, f"{found.name}:{number}", fault=fault)
    except (pa.ArrowException, *_FAULTS) as error:
        raise _broken(found, error) from None


def _broken(found: Found, error: Exception) -> BadRequest:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return BadRequest(
        f"{found.name}: not a Parquet file, or one that was cut off ({reason}). Fetch {found.path} again."
    )
