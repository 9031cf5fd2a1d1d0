"""The documents that were left out because nobody could read them: named, with the reason and who may know of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.errors import BadRequest
from core.schema.columns import ROW_ID
from core.tables.access import Rules
from core.tables.row_groups import batches
from core.tables.tombstones import DOCUMENT_NAMES

NAMES = (*DOCUMENT_NAMES, ROW_ID)  # columns by which a row names its document, the first that has a value
_REASON = 300  # characters
_NAMED = 1000  # more are counted, and stand in validated/quarantine.parquet


def unread(quarantine: Path, rules: Rules) -> Iterator[dict[str, Any]]:
    """The first of them, in their order. labels: as `access:` gives them; None: of nobody but the operator."""
    if not quarantine.is_file():
        return
    file = pq.ParquetFile(quarantine)
    names = [name for name in NAMES if name in file.schema_arrow.names]
    for batch in batches(file, _NAMED, [*names, "place", "reason"]):
        for row in batch.to_pylist():
            document = next((str(row[name]) for name in names if row[name] is not None), str(row["place"]))
            try:
                labels = list(rules.of(document, None))
            except BadRequest:
                labels = None
            yield {"document": document, "reason": str(row["reason"])[:_REASON], "labels": labels}
        return
