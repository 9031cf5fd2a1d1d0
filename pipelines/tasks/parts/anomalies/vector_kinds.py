"""Which kind of rows a recipe means, what is learnt of the normal ones, and what has to be known of the others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.atomic_files import write_json
from core.errors import BadData
from core.tables.keys import label_name
from core.tables.prepared import ROWS, SIDE
from core.tables.spelling import some
from core.tables.task import Place
from pipelines.tasks.parts.anomalies import column_vectors, picture_vectors, series_vectors
from pipelines.tasks.parts.anomalies.vectors import FILE, LABEL, Array, Options, Vectors, anomalous, read
from pipelines.tasks.parts.inputs.series import WHEN

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class NormalRows:
    """Batches of rows without those that are known to be anomalies."""

    batches: Iterable[pd.DataFrame]
    options: Options

    def __iter__(self) -> Iterator[pd.DataFrame]:
        for rows in self.batches:
            if len(kept := rows[~anomalous(rows, self.options)]):
                yield kept


def prepare(batches: Iterable[pd.DataFrame], options: Options, at: Place) -> None:
    """Learn what vectors need of the normal training rows. Raises BadData for rows that nothing can be learnt from."""
    _check(batches, options, at.folder.parent)
    write_json(at.folder / FILE, options.model_dump(mode="json"))
    normal = NormalRows(batches, options)
    if options.pictures:
        picture_vectors.prepare(normal, options, at)
    elif options.values:
        series_vectors.prepare(normal, options, at)
    else:
        column_vectors.prepare(normal, options, at)


def vectors_of(folder: Path) -> Vectors:
    """How rows become vectors, by what prepare() left in the folder."""
    options = read(folder)
    if options.pictures:
        return picture_vectors.PictureVectors(folder)
    return series_vectors.SeriesVectors(folder) if options.values else column_vectors.ColumnVectors(folder)


def told(rows: pd.DataFrame, options: Options) -> Array:
    """(rows,) whether it is known of each that it is an anomaly or that it is none."""
    if options.anomalous_times:
        return np.ones(len(rows), bool)
    return np.array([bool(label_name(label)) for label in rows[LABEL]], bool)


def _check(batches: Iterable[pd.DataFrame], options: Options, prepared: Path) -> None:
    """Raise BadData where no training row is normal, or no test row is known to be an anomaly.

    prepared: the folder with the rows of all splits.
    """
    import pyarrow.parquet as pq

    if next(iter(NormalRows(batches, options)), None) is None:
        labels = sorted(
            {name for rows in batches if LABEL in rows for each in rows[LABEL] if (name := label_name(each))}
        )
        raise BadData(
            f"no training row is normal: preprocess.normal says {some(list(map(str, options.normal)))}, and the labels "
            f"are {some(labels)}."
        )
    columns = [LABEL, *([WHEN] if options.anomalous_times else [])]
    tested = pq.read_table(prepared / ROWS, columns=columns, filters=[(SIDE, "=", "test")]).to_pandas()
    if not told(tested, options).any():
        raise BadData(
            "no test row has a label, so nothing says how good a model is. Label some rows (column `label`, "
            "preprocess.normal); those of the training need none."
        )
    if not anomalous(tested, options).any():
        where = "preprocess.anomalous_times" if options.anomalous_times else "their labels and preprocess.normal"
        raise BadData(f"no test row is an anomaly by {where}, so nothing says how good a model is at finding one.")
