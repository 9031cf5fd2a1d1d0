"""Vectors by the key of their text, as arrays: a hundred thousand are a matrix, not a hundred thousand objects."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.atomic_files import make_folder, swap_in
from pipelines.search.vectors.forward import Vectors

Keys = np.ndarray[Any, np.dtype[np.bytes_]]  # sha256 in hexadecimal
_TEXTS_A_PART = 256  # some seconds of work: what an interruption loses at most


@dataclass(frozen=True)
class Table:
    """keys: sorted, each once. matrix: their vectors, a row each."""

    keys: Keys
    matrix: Vectors


def as_keys(names: Sequence[str]) -> Keys:
    return np.array(names, np.bytes_)


def read(path: Path) -> Table:
    table = pq.read_table(path)
    column = table["vector"].combine_chunks()
    matrix: Vectors = column.flatten().to_numpy().reshape(len(column), column.type.list_size)
    return Table(as_keys(table["key"].to_pylist()), matrix)


def write(path: Path, table: Table) -> None:
    """Sorted by key, so equal vectors are equal bytes."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(table.matrix.ravel(), pa.float32()), table.matrix.shape[1])
    keys = pa.array(table.keys).cast(pa.string())
    # no compression, no dictionary: there is nothing to gain in random mantissas, and hashes stand once each
    pq.write_table(pa.table({"key": keys, "vector": column}), path, compression="none", use_dictionary=False)


class Filling:
    """The vectors of an index as they are found or computed. keys: sorted, each once."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.has = np.zeros(len(keys), np.bool_)
        self.matrix: Vectors = np.zeros((len(keys), 0), np.float32)

    @property
    def missing(self) -> Keys:
        return self.keys[~self.has]

    def put(self, keys: Keys, vectors: Vectors) -> int:
        """Fill in those that are wanted and still missing; keys in any order. Returns how many."""
        if not len(keys) or not len(self.keys):
            return 0
        if not self.matrix.shape[1]:
            self.matrix = np.zeros((len(self.keys), vectors.shape[1]), np.float32)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        wanted = (self.keys[at] == keys) & ~self.has[at]
        self.matrix[at[wanted]] = vectors[wanted]
        self.has[at[wanted]] = True
        return int(wanted.sum())


class Parts:
    """Finished batches of a run that has not ended, in files of their own: an interrupted run goes on from them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # one for each set of weights and settings
        self._waiting: list[tuple[Keys, Vectors]] = []

    def read(self) -> Iterator[Table]:
        for path in sorted(self.folder.glob("*.parquet")):
            yield read(path)

    def add(self, keys: Keys, batch: Vectors) -> None:
        self._waiting.append((keys, batch))
        if sum(len(one) for one, _ in self._waiting) >= _TEXTS_A_PART:
            self.close()

    def close(self) -> None:
        """Write what is waiting; a part has its name only when it is whole."""
        if self._waiting:
            keys = np.concatenate([one for one, _ in self._waiting])
            order = np.argsort(keys)
            name = hashlib.sha256(keys[order].tobytes()).hexdigest()[:16]
            make_folder(self.folder)
            beside, path = (self.folder / f"{name}{suffix}" for suffix in (".new", ".parquet"))
            write(beside, Table(keys[order], np.concatenate([batch for _, batch in self._waiting])[order]))
            swap_in(beside, path)
            self._waiting = []
