"""The passages of an earlier `chunk`: rows of a document that is what it was are taken over, not cut again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.manifest import as_recorded, earlier_manifest

CHUNKS, DOCUMENTS = "chunks.parquet", "documents.parquet"
SCHEMA = pa.schema(
    [
        ("document", pa.string()),
        ("identity", pa.string()),  # sha256 of all of a document that decides its rows (pipelines/chunk/documents.py)
        ("content", pa.string()),  # equal for documents of equal text
        ("chunks", pa.int32()),  # rows of chunks.parquet, which has the documents in this order
    ]
)


@dataclass(frozen=True)
class Earlier:
    """Rows by a document's identity; content: its key, which takes longer to compute than the identity."""

    content: Mapping[str, str] = field(default_factory=dict)
    _rows: pa.Table | None = None
    _places: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def rows(self, identity: str) -> pa.Table | None:
        """The document's rows of chunks.parquet, or None when it was not there as it is now."""
        place = self._places.get(identity)
        return None if place is None or self._rows is None else self._rows.slice(*place)


def read_earlier(folder: Path, method: Mapping[str, Any], schema: pa.Schema) -> Earlier:
    """What `folder` holds; nothing when it was cut by other rules or settings, or one of its files is damaged."""
    manifest = earlier_manifest(folder)
    if manifest.get("method") != method or not all(
        as_recorded(folder / name, manifest) for name in (CHUNKS, DOCUMENTS)
    ):
        return Earlier()
    rows = pq.read_table(folder / CHUNKS)
    if not rows.schema.equals(schema):
        return Earlier()
    documents = pq.read_table(folder / DOCUMENTS, columns=["identity", "content", "chunks"]).to_pydict()
    places, start = {}, 0
    for identity, count in zip(documents["identity"], documents["chunks"], strict=True):
        places[identity] = (start, count)
        start += count
    return Earlier(dict(zip(documents["identity"], documents["content"], strict=True)), rows, places)
