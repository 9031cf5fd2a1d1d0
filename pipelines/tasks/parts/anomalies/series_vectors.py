"""Windows of a series as vectors: so many steps of every column, standardised; a window is as its worst step is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.errors import BadData
from core.schema.columns import Column
from core.tables.learner import Row
from core.tables.prepared import read_rows
from core.tables.task import Place
from pipelines.tasks.parts.anomalies.vectors import LABEL, Array, Options, anomalous, read, spread
from pipelines.tasks.parts.inputs import contexts, series
from pipelines.tasks.parts.inputs.windows import START

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_STRETCHES = 12  # parts of a window, of each column, that a person is told of
_FLAG = "\0anomalous"  # read as a column of the series where it is asked which windows hold an anomaly


def prepare(batches: Iterable[pd.DataFrame], options: Options, at: Place) -> None:
    """Raises BadData where a column never varies, or no window fits."""
    for name in options.values:
        ends = [end for rows in batches for end in (rows[name].min(), rows[name].max())]
        if min(ends) == max(ends):
            raise BadData(
                f"the column {name!r} is {min(ends):g} in every normal training row. Leave it out of `values`."
            )
    own = series.Options(
        context=options.context - 1, horizon=1, season=1, values=options.values, longest_step=options.longest_step,
        stride=options.stride or options.context,
    )  # fmt: skip
    series.prepare(batches, own, at.folder)


class SeriesVectors:
    """vectors.Vectors of windows. In terms of forecasts, a window is a context and one step more."""

    def __init__(self, folder: Path) -> None:
        self.options, self.known = read(folder), series.read(folder)
        self.whole = self.known.model_copy(update={"context": self.known.context + 1})
        self.windows = series.windows(self.known)
        steps, columns = self.whole.context, self.known.values
        stretches = np.array_split(np.arange(steps), min(_STRETCHES, steps))
        said = [f"steps {each[0] + 1} to {each[-1] + 1} of {steps}" for each in stretches]
        self.names = said if len(columns) == 1 else [f"{column}, {each}" for each in said for column in columns]
        place = np.repeat(np.arange(len(stretches)), [len(each) for each in stretches])
        self.part = (place[:, None] * len(columns) + np.arange(len(columns))).reshape(-1)
        self.features = {series.VALUE: Column("number", required=False)}

    def encode(self, rows: pd.DataFrame, media: Path) -> pa.Table:
        return series.encode(rows, self.known)

    def trained(self, encoded: pa.Table) -> pa.Table:
        """Where windows start. Anomalous steps are not among the encoded ones: they are gaps."""
        return self.windows.add(encoded)

    def stacked(self, rows: Sequence[Row]) -> Array:
        return _flat(*self.windows.take(np.array([row[START] for row in rows])))

    def of_tables(self, tables: Sequence[pa.Table]) -> Array:
        found = series.windows(self.known)
        for table in tables:
            found.add(table)
        starts = found.found[-1]
        if not len(starts):
            return np.zeros((0, len(self.part)), np.float32)
        return _flat(*found.take(starts[spread(len(starts), len(self.part))]))

    def of_rows(self, rows: pd.DataFrame, media: Path) -> Array:
        return contexts.contexts(rows, self.whole).reshape(len(rows), -1)

    def units(self, rows: pd.DataFrame, prepared: Path) -> pd.DataFrame:
        """Windows whose last step is of the test; those before may be of the validation, or of the training."""
        before = read_rows(prepared, "validation")
        flagged = [each.assign(**{_FLAG: anomalous(each, self.options).astype(float)}) for each in (rows, before)]
        import pandas as pd

        columns = [*self.known.values, _FLAG]
        found = contexts.units(flagged[0], flagged[1], self.known.model_copy(update={"values": columns}))
        sent, holds = [], []
        for value, last in zip(found[series.VALUE], found[contexts.FUTURE], strict=True):
            lists = {name: [*value[name], more] for name, more in zip(columns, last, strict=True)}
            holds.append(any(lists.pop(_FLAG)))
            sent.append(lists if len(lists) > 1 else lists[columns[0]])
        label = ["anomaly" if each else "normal" for each in holds]
        more = pd.DataFrame({series.VALUE: pd.Series(sent, dtype=object), "anomalous": holds, LABEL: label})
        return found.drop(columns=[contexts.FUTURE, series.VALUE]).join(more)


def _flat(past: Array, last: Array) -> Array:
    return np.concatenate([past, last], axis=1).reshape(len(past), -1)
