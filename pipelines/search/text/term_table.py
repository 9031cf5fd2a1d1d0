"""vectors/terms.parquet: the terms of every passage text, by the text's key. Only new texts are analysed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.manifest import as_recorded, earlier_manifest
from pipelines.search.text.terms import Analyser, Sparse, average, weights

FILE = "terms.parquet"
SCHEMA = pa.schema([("key", pa.string()), ("ids", pa.list_(pa.uint32())), ("counts", pa.list_(pa.uint16()))])
Texts = Callable[[Sequence[str]], Mapping[str, str]]
_MOST = 2**16 - 1  # of one term in one text


def write_terms(folder: Path, keys: Sequence[str], texts: Texts, earlier: Path, analyser: Analyser) -> dict[str, Any]:
    """Write terms.parquet into a folder, sorted by key; returns what its manifest is to say about it.

    keys: of all texts, sorted. texts: gives those that are asked for. earlier: the folder of an earlier run; its terms
    are taken over when its analyser was this one.
    """
    known = _kept(earlier, analyser)
    position = {key: row for row, key in enumerate(known["key"].to_pylist())}
    new = [key for key in keys if key not in position]
    read = texts(new) if new else {}
    found = [analyser.terms(read[key]) for key in new]
    fresh = pa.table(
        {
            "key": pa.array(new, pa.string()),
            "ids": pa.array([each.ids for each in found], SCHEMA.field("ids").type),
            "counts": pa.array([[min(n, _MOST) for n in each.values] for each in found], SCHEMA.field("counts").type),
        }
    )
    kept = known.take(pa.array([position[key] for key in keys if key in position], pa.int64()))
    table = pa.concat_tables([kept, fresh.cast(SCHEMA)]).sort_by("key").combine_chunks()
    pq.write_table(table, folder / FILE, compression="zstd")
    return {**analyser.identity, "average": Postings(table).average}


def _kept(folder: Path, analyser: Analyser) -> pa.Table:
    """What an earlier run left; nothing when it had another analyser, or its file is damaged."""
    path = folder / FILE
    manifest = earlier_manifest(folder)
    same = analyser.identity.items() <= (manifest.get("terms") or {}).items()
    whole = same and as_recorded(path, manifest)
    return pq.read_table(path).cast(SCHEMA) if whole else SCHEMA.empty_table()


@dataclass(frozen=True)
class Postings:
    """The terms of every text."""

    table: pa.Table

    @classmethod
    def read(cls, folder: Path) -> Postings:
        return cls(pq.read_table(folder / FILE).cast(SCHEMA).combine_chunks())

    @cached_property
    def average(self) -> float:
        """The average length of a text in terms, rounded (search/terms.py)."""
        terms = pc.sum(pc.list_flatten(self.table["counts"])).as_py() or 0
        return average(terms, max(self.table.num_rows, 1))

    def of(self, key: str) -> Sparse:
        """A text's weights. Raises KeyError for a text that is not there."""
        row = self._rows[key]
        ids, counts = (self.table[name][row].values.to_numpy() for name in ("ids", "counts"))
        return _weighed(ids.tolist(), counts, self.average)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {key: row for row, key in enumerate(self.table["key"].to_pylist())}


def weigh(analyser: Analyser, text: str, average_length: float) -> Sparse:
    """The weights of a text that stands in no table."""
    found = analyser.terms(text)
    return _weighed(found.ids, found.values, average_length)


def _weighed(ids: Sequence[int], counts: Sequence[float], average_length: float) -> Sparse:
    counted = np.array(counts, np.int64)
    return Sparse(ids, weights(counted, np.full(len(counted), counted.sum()), average_length).tolist())
