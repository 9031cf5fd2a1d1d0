"""Pictures as vectors: their pixels, all at one small size; a person is told of fields of a grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.schema.columns import Column
from core.tables.learner import Row
from core.tables.task import Place
from pipelines.tasks.parts.anomalies.vectors import Array, Options, spread
from pipelines.tasks.parts.pictures import picture_input

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_LARGEST_SIDE = 32  # pixels, unless the recipe says more: a vector has all of them
_FIELDS = 4  # of a picture, along each side


def prepare(batches: Iterable[pd.DataFrame], options: Options, at: Place) -> None:
    side = min(_LARGEST_SIDE, picture_input.side(picture_input.Options(), batches))
    own = picture_input.Options(size=options.size or max(8, side), channels=options.channels)
    picture_input.write(picture_input.chosen(own, batches, at), at.folder)


class PictureVectors:
    """vectors.Vectors of pixels, standardised by channel."""

    def __init__(self, folder: Path) -> None:
        self.known = known = picture_input.read(folder)
        channels, side, _ = known.shape
        field = np.arange(side) * _FIELDS // side
        ends = [(np.flatnonzero(field == at)[0] + 1, np.flatnonzero(field == at)[-1] + 1) for at in range(_FIELDS)]
        self.names = [f"rows {a} to {b}, columns {c} to {d} of {side}" for a, b in ends for c, d in ends]
        self.part = np.tile((field[:, None] * _FIELDS + field).reshape(-1), channels)
        self.features = {"path": Column("media")}

    def encode(self, rows: pd.DataFrame, media: Path) -> pa.Table:
        import pyarrow as pa

        pixels = picture_input.pixels(rows["path"].tolist(), media, self.known)
        return pa.table({"pixels": picture_input.column(pixels)})

    def trained(self, encoded: pa.Table) -> pa.Table:
        return encoded

    def stacked(self, rows: Sequence[Row]) -> Array:
        return self._flat(picture_input.stacked(rows, self.known.shape))

    def of_tables(self, tables: Sequence[pa.Table]) -> Array:
        column = tables[-1]["pixels"].take(spread(tables[-1].num_rows, len(self.part))).combine_chunks()
        return self._flat(column.flatten().to_numpy().reshape(-1, *self.known.shape))

    def of_rows(self, rows: pd.DataFrame, media: Path) -> Array:
        return self._flat(picture_input.pixels(rows["path"].tolist(), media, self.known))

    def units(self, rows: pd.DataFrame, prepared: Path) -> pd.DataFrame:
        return rows

    def _flat(self, pixels: Array) -> Array:
        return picture_input.scaled(pixels, self.known).numpy().reshape(len(pixels), -1)
