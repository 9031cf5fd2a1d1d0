"""Rows of a table as vectors: numbers standardised, each category spread over as many numbers as it has values.

A missing number is the training rows' mean. A value of a category that the training rows have not has a place of its
own, at which they all have 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.tables.learner import Row
from core.tables.task import Place
from pipelines.tasks.parts.anomalies.vectors import Array, Options, spread
from pipelines.tasks.parts.tables import column_input

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def prepare(batches: Iterable[pd.DataFrame], options: Options, at: Place) -> None:
    own = {name: getattr(options, name) for name in column_input.Options.model_fields}
    column_input.prepare(batches, column_input.Options(**own), at.folder)


class ColumnVectors:
    """vectors.Vectors of the columns that prepare() was told."""

    def __init__(self, folder: Path) -> None:
        self.known = known = column_input.read(folder)
        self.names = [*known.numbers, *known.dates, *known.categories]
        sizes = [1] * len(known.numbers) + [column_input.PARTS] * len(known.dates) + known.sizes
        self.part = np.repeat(np.arange(len(sizes)), sizes)
        self.features = known.features

    def encode(self, rows: pd.DataFrame, media: Path) -> pa.Table:
        return column_input.encoded(rows, self.known)

    def trained(self, encoded: pa.Table) -> pa.Table:
        return encoded

    def stacked(self, rows: Sequence[Row]) -> Array:
        return self._joined(*column_input.stacked(rows))

    def of_tables(self, tables: Sequence[pa.Table]) -> Array:
        return self._joined(*column_input.of_table(tables[-1].take(spread(tables[-1].num_rows, len(self.part)))))

    def of_rows(self, rows: pd.DataFrame, media: Path) -> Array:
        return self._joined(*column_input.arrays(rows, self.known))

    def units(self, rows: pd.DataFrame, prepared: Path) -> pd.DataFrame:
        return rows

    def _joined(self, numbers: Array, categories: Array) -> Array:
        spread_out = [np.eye(size, dtype=np.float32)[categories[:, at]] for at, size in enumerate(self.known.sizes)]
        return np.concatenate([np.nan_to_num(numbers, nan=0.0), *spread_out], axis=1, dtype=np.float32)
