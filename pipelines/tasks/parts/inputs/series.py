"""What tasks over time series share: options, what is learnt of the training rows, rows as standardised numbers.

A row is one step of one series: {"series": "north", "time": "2016-07-01T00:00:00", "value": 30.5}.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from core.atomic_files import read_json, write_json
from core.errors import BadData
from core.schema.section import Section
from core.splits.time_split import Times, joined, times_of
from core.tables.keys import codes

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from pipelines.tasks.parts.inputs.windows import Windows

_FILE = "series.json"
NAME, WHEN, VALUE = "series", "time", "value"  # columns of rows


class Options(Section):
    context: Annotated[int, Field(ge=2, le=100_000, description="steps that a forecast is made from")] = 96
    horizon: Annotated[int, Field(ge=1, le=10_000, description="steps that are forecast")] = 24
    season: Annotated[int, Field(ge=1, description="steps until it is the same hour, or day, again")] = 24
    values: Annotated[list[str], Field(min_length=1, description="columns of numbers, forecast together")] = Field(
        default_factory=lambda: [VALUE]
    )
    covariates: Annotated[list[str], Field(description="columns of numbers whose past is known, not forecast")] = Field(
        default_factory=list
    )
    stride: Annotated[
        int | None,
        Field(ge=1, description="steps from one evaluated window to the next; by default windows do not overlap"),
    ] = None
    coverage: Annotated[float, Field(gt=0, lt=1, description="share of true values to lie in the intervals")] = 0.9
    longest_step: Annotated[
        float, Field(ge=1, description="times the usual step: a longer one is a gap, and no window reaches across")
    ] = 1.5

    @model_validator(mode="after")
    def _fit(self) -> Options:
        names = self.columns
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"values and covariates name {twice[0]!r} twice")
        if self.season > self.context:
            raise ValueError(f"season ({self.season}) must be at most context ({self.context}), which has to show one")
        return self

    @property
    def columns(self) -> list[str]:
        return [*self.values, *self.covariates]


class Series(Options):
    """The options, and what prepare() learnt. mean, deviation: one a column, values before covariates.

    step: the usual time between two steps, in seconds where times are dates.
    """

    mean: list[float]
    deviation: list[float]
    step: float

    @property
    def longest(self) -> float:
        """The most time between two steps of a window."""
        return self.longest_step * self.step

    @property
    def spacing(self) -> int:
        """Steps from one evaluated window to the next.

        By default the fewest at which no two windows share a true value, since the bootstrap takes windows as
        independent, and at which they begin at every place of the season: at the same hour each day, the error of a
        step would be the error of an hour.
        """
        if self.stride is not None:
            return self.stride
        return next(steps for steps in itertools.count(self.horizon) if math.gcd(steps, self.season) == 1)


def prepare(batches: Iterable[pd.DataFrame], options: Options, folder: Path) -> None:
    """Learn mean and deviation of each column, and the usual step. Raises BadData when no window fits."""
    import numpy as np

    count, mean, squares = 0, np.zeros(len(options.columns)), np.zeros(len(options.columns))
    names: list[np.ndarray[Any, Any]] = []
    times: list[Times] = []
    for rows in batches:  # Chan, Golub and LeVeque 1983: the sums of parts, joined without loss of digits
        values = rows[options.columns].to_numpy(np.float64)
        own, total = values.mean(axis=0), count + len(values)
        squares += ((values - own) ** 2).sum(axis=0) + (own - mean) ** 2 * count * len(values) / total
        mean += (own - mean) * len(values) / total
        count = total
        names.append(name_codes(rows))
        times.append(times_of(rows[WHEN], column=WHEN))
    deviation = np.sqrt(squares / max(count, 1))
    learnt = {
        "mean": mean.tolist(),
        "deviation": np.where(deviation > 0, deviation, 1.0).tolist(),
        "step": _usual_step(np.concatenate(names), joined(times, column=WHEN).numbers, options),
    }
    write_json(folder / _FILE, options.model_dump() | learnt)


def read(folder: Path) -> Series:
    """What prepare() left."""
    return Series.model_validate(read_json(folder / _FILE))


def encode(rows: pd.DataFrame, known: Series) -> pa.Table:
    """One step a row, in the rows' order: a number for its series, its time, and the standardised values."""
    import pyarrow as pa

    from pipelines.tasks.parts.inputs.windows import SERIES, TIME, VALUES

    values = standardised(rows[known.columns].to_numpy(), known)
    return pa.table(
        {
            SERIES: pa.array(name_codes(rows)),
            TIME: pa.array(times_of(rows[WHEN], column=WHEN).numbers),
            VALUES: pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), len(known.columns)),
        }
    )


def windows(known: Series) -> Windows:
    """Takes encoded rows, split after split; nothing is in it yet."""
    from pipelines.tasks.parts.inputs.windows import Windows

    return Windows(context=known.context, horizon=known.horizon, longest=known.longest)


def standardised(values: np.ndarray[Any, Any], known: Series) -> np.ndarray[Any, Any]:
    """(..., columns) float32: by the training rows' mean and deviation of each column, over all series."""
    import numpy as np

    scaled: np.ndarray[Any, Any] = (values.astype(np.float64) - np.array(known.mean)) / np.array(known.deviation)
    return scaled.astype(np.float32)


def series_names(rows: pd.DataFrame) -> pd.Series[str]:
    """The name of each row's series; "" where there is one series without a name."""
    import pandas as pd

    if NAME not in rows:
        return pd.Series("", rows.index, dtype="str")
    return rows[NAME].fillna("").astype("str")


def name_codes(rows: pd.DataFrame) -> np.ndarray[Any, Any]:
    """(rows,) int64: the same number for rows of one series, in whatever table they stand."""
    import pandas as pd

    places, names = pd.factorize(series_names(rows))
    return codes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest() for name in names)[places]


def _usual_step(names: np.ndarray[Any, Any], times: np.ndarray[Any, Any], options: Options) -> float:
    """The median time between two steps of a series; says what gaps there are. Raises BadData when no window fits."""
    import numpy as np

    from pipelines.tasks.parts.inputs.windows import in_order, runs, starts

    steps = in_order(names, times, np.zeros((len(times), 0), np.float32))
    between = np.diff(steps.times)[np.diff(steps.series) == 0]
    usual = float(np.median(between)) if len(between) else 0.0
    longest = usual * options.longest_step
    sizes = np.bincount(runs(steps, longest=longest))
    series = len(np.unique(names))
    said = f"steps {len(times):,}, series {series:,}, gaps {len(sizes) - series:,}, longest run {sizes.max():,}"
    if not len(starts(steps, context=options.context, horizon=options.horizon, longest=longest)):
        raise BadData(
            f"no training window of {options.context:,} + {options.horizon:,} steps fits into a run of steps without "
            f"a gap ({said}). Lower preprocess.context, raise preprocess.longest_step, or bring the missing steps."
        )
    print(f"train: {said}", file=sys.stderr, flush=True)
    return usual
