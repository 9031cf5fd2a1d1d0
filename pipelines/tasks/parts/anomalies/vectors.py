"""Rows as vectors: what a recipe says of them, what every kind of rows knows, and which are known to be anomalies.

A detector sees vectors alone. Each number of a vector belongs to one part that a person knows: a column, a stretch of
steps, a field of a picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import Field, model_validator

from core.atomic_files import read_json
from core.schema.columns import Column
from core.schema.section import OF_ROWS
from core.schema.times import as_number, time_text
from core.tables.keys import label_name
from core.tables.learner import Row
from pipelines.tasks.parts.inputs.series import WHEN
from pipelines.tasks.parts.tables import column_input

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

LABEL = "label"
MOST_NUMBERS = 20_000_000  # of the vectors that are in memory together: 160 MB; of more rows some are taken, evenly
FILE = "anomalies.json"
Array = np.ndarray[Any, np.dtype[Any]]
Name = str | int | float | bool


class Options(column_input.Options):
    values: Annotated[list[str], Field(description="of a series: columns of numbers that are looked at together")] = (
        Field(default_factory=list)
    )
    context: Annotated[int, Field(ge=3, le=100_000, description="of a series: steps of a window")] = 48
    stride: Annotated[
        int | None, Field(ge=1, description="steps from one evaluated window to the next; by default none overlap")
    ] = None
    longest_step: Annotated[
        float, Field(ge=1, description="times the usual step: a longer one is a gap, and no window reaches across")
    ] = 1.5
    anomalous_times: Annotated[
        list[Annotated[list[str | int | float], Field(min_length=2, max_length=2)]],
        Field(description="of a series: [first, last] step of each time that is known to be anomalous"),
        OF_ROWS,
    ] = Field(default_factory=list)
    pictures: Annotated[bool, Field(description="rows are pictures, in the column path")] = False
    size: Annotated[
        int | None, Field(ge=8, le=128, description="pixels a side; by default the largest of the data, at most 32")
    ] = None
    channels: Annotated[
        Literal["grayscale", "rgb"] | None, Field(description="by default rgb if any training picture has colour")
    ] = None
    normal: Annotated[
        list[Name], Field(min_length=1, description="labels of what is normal; any other is not"), OF_ROWS
    ] = Field(default_factory=lambda: list[Name](["normal"]))
    contamination: Annotated[
        float, Field(gt=0, le=0.5, description="share of the validation rows that the threshold calls anomalous")
    ] = 0.05

    @model_validator(mode="after")
    def _fit(self) -> Options:
        kinds = [bool(self.columns), bool(self.values), self.pictures]
        if sum(kinds) != 1:
            raise ValueError("say what a row is: numbers, categories or dates of a table; values of a series; pictures")
        names = [*self.columns, *self.values]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"numbers, categories, dates and values name {twice[0]!r} twice")
        if self.anomalous_times and not self.values:
            raise ValueError("anomalous_times are of a series: name its columns under values")
        for first, last in self.anomalous_times:
            one, two = time_text(first), time_text(last)
            if one is None or two is None or not as_number(one) <= as_number(two):
                raise ValueError(f"anomalous_times: {[first, last]} must be two times, the earlier one first")
        return self


class Vectors(Protocol):
    """Rows of one kind as vectors."""

    @property
    def names(self) -> Sequence[str]:
        """Of the parts, as a person knows them."""

    @property
    def part(self) -> Array:
        """(width,) the place in `names` of the part that each number of a vector is of."""

    @property
    def features(self) -> Mapping[str, Column]:
        """The columns that are sent."""

    def encode(self, rows: pd.DataFrame, media: Path) -> pa.Table:
        """A feature row a row."""

    def trained(self, encoded: pa.Table) -> pa.Table:
        """What is trained on, of the encoded rows; splits come in their order."""

    def stacked(self, rows: Sequence[Row]) -> Array:
        """(rows, width) float32 of some rows that trained() gave."""

    def of_tables(self, tables: Sequence[pa.Table]) -> Array:
        """The same of the last of some encoded tables, or of as many as there is room for; the others came before."""

    def of_rows(self, rows: pd.DataFrame, media: Path) -> Array:
        """The same of rows as they are sent. Raises BadRequest for what is none."""

    def units(self, rows: pd.DataFrame, prepared: Path) -> pd.DataFrame:
        """What is evaluated of the test rows; `anomalous` of each says whether it is an anomaly, `label` so in words.

        rows: with a column `anomalous`.
        """


def anomalous(rows: pd.DataFrame, options: Options) -> Array:
    """(rows,) whether each is known to be an anomaly: by its label, or by when it was."""
    found = np.zeros(len(rows), bool)
    if LABEL in rows:
        normal = {"", *map(label_name, options.normal)}
        found |= np.array([(label_name(label) or "") not in normal for label in rows[LABEL]], bool)
    if options.anomalous_times:
        from core.splits.time_split import times_of

        when = times_of(rows[WHEN], column=WHEN).numbers
        for first, last in options.anomalous_times:
            found |= (when >= as_number(str(time_text(first)))) & (when <= as_number(str(time_text(last))))
    return found


def read(folder: Path) -> Options:
    """The options that prepare() was told."""
    return Options.model_validate(read_json(folder / FILE))


def spread(count: int, width: int) -> Array:
    """Places of at most as many of `count` vectors as there is room for, evenly from the first to the last."""
    most = max(1, MOST_NUMBERS // max(width, 1))
    return np.arange(count) if count <= most else np.unique(np.linspace(0, count - 1, most).round().astype(np.int64))
