"""The split by time: train comes first, then validation, then test, and no row knows of a later one.

The cuts lie between different times, so rows of one time (of several series) are always on one side. Cuts that are
shares move when rows are added at the end; explicit cuts stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import BadData
from core.schema.columns import FAULT
from core.schema.data import SPLITS, Split, SplitName
from core.schema.times import as_text
from core.tables.row_groups import batches

if TYPE_CHECKING:
    import pandas as pd

_ROWS_AT_ONCE = 100_000
LEFT_OUT = -1  # the code of a row in a gap, or from the end on


@dataclass(frozen=True)
class Times:
    """Times that sort and subtract. numbers: (rows,) float64, plain numbers or a date's seconds since 1970."""

    numbers: np.ndarray[Any, np.dtype[np.float64]]
    dates: bool

    def text(self, number: float) -> str:
        return as_text(number, date=self.dates)


@dataclass(frozen=True)
class TimeSides:
    """codes: of each row, the place of its split in SPLITS, or LEFT_OUT. The others: rows left out, by reason."""

    codes: np.ndarray[Any, np.dtype[np.int8]]
    gap: int
    after_end: int
    no_time: int = 0

    @property
    def left_out(self) -> dict[str, int]:
        return {"gap": self.gap, "after_end": self.after_end, "no_time": self.no_time}

    def names(self, rows: slice) -> list[SplitName | None]:
        """The splits of some rows; None of one that is left out."""
        return [None if code == LEFT_OUT else SPLITS[code] for code in self.codes[rows].tolist()]


def times_of(values: pd.Series[Any], *, column: str) -> Times:
    """The times of some rows: numbers, or dates of ISO 8601; a date without a zone counts as UTC.

    Raises BadData for a value that is neither, and where both stand in the column.
    """
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(values):
        numbers = pd.Series(np.nan, values.index)
    else:
        numbers = pd.to_numeric(values, errors="coerce").astype(np.float64)
    if numbers.notna().all():
        return Times(np.asarray(numbers, dtype=np.float64), dates=False)
    stamps = pd.to_datetime(values.where(numbers.isna()), format="ISO8601", utc=True, errors="coerce")
    wrong = stamps.isna() & numbers.isna()
    if wrong.any():
        raise BadData(
            f"column {column!r} has {values[wrong].iloc[0]!r} on {int(wrong.sum()):,} of {len(values):,} rows, which "
            "is no time: a number, or a date of ISO 8601 (2016-07-01, 2016-07-01T13:00:00+02:00)."
        )
    if numbers.notna().any():
        raise _mixed(column)
    microseconds = stamps.dt.tz_localize(None).to_numpy("datetime64[us]").astype(np.int64)
    return Times(np.asarray(microseconds / 1e6, dtype=np.float64), dates=True)


def joined(parts: Sequence[Times], *, column: str) -> Times:
    """The times of consecutive parts of a table as those of the whole. Raises BadData where parts differ in kind."""
    if len({part.dates for part in parts}) > 1:
        raise _mixed(column)
    return Times(np.concatenate([part.numbers for part in parts]), parts[0].dates)


def sides_of_table(examples: Path, split: Split, *, settings_file: str) -> TimeSides | None:
    """The split of every row of a table; None where it is not by time. Rows without a time are left out.

    Raises BadData as times_of() and time_sides() do.
    """
    import pyarrow.parquet as pq

    if split.time is None:
        return None
    parts, read = [], []
    for batch in batches(pq.ParquetFile(examples), _ROWS_AT_ONCE, list(dict.fromkeys([split.time, FAULT]))):
        rows = batch.to_pandas()
        read.append((rows[FAULT].isna() & rows[split.time].notna()).to_numpy(bool))
        if read[-1].any():
            parts.append(times_of(rows.loc[read[-1], split.time], column=split.time))
    if not parts:
        raise BadData(f"{settings_file}: data.split.time: no row has a time in the column {split.time!r}.")
    found = time_sides(joined(parts, column=split.time), split, settings_file=settings_file)
    readable = np.concatenate(read)
    codes = np.full(len(readable), LEFT_OUT, np.int8)
    codes[readable] = found.codes
    return replace(found, codes=codes, no_time=int((~readable).sum()))


def time_sides(times: Times, split: Split, *, settings_file: str) -> TimeSides:
    """The split of every row at once.

    By shares, the cuts lie where so many of the different times are before them. The split.gap different times before
    a cut are left out: the earlier split loses them. Raises BadData when a split that has a share gets no row.
    """
    different = np.unique(times.numbers)
    if split.cuts is not None:
        if split.cuts.dates != times.dates:
            raise BadData(_other_kind(split, times, settings_file))
        starts = np.searchsorted(different, split.cuts.numbers)
    else:
        shares = np.cumsum([split.train, split.validation, split.test])
        starts = np.round(shares * len(different)).astype(np.int64)
    sizes = np.diff(starts, prepend=0)
    codes = np.repeat(np.array([0, 1, 2, LEFT_OUT], np.int8), [*sizes, len(different) - starts[-1]])
    for start in starts[:2]:
        codes[max(start - split.gap, 0) : start] = LEFT_OUT
    for at, name in enumerate(SPLITS):
        if not (codes == at).any() and (split.cuts is not None or getattr(split, name) > 0):
            raise BadData(_no_rows(name, int(sizes[at]), different, times, split, settings_file))
    rows = codes[np.searchsorted(different, times.numbers)]
    ends = different[starts[-1]] if starts[-1] < len(different) else np.inf
    after_end = int((times.numbers >= ends).sum())
    return TimeSides(rows, gap=int((rows == LEFT_OUT).sum()) - after_end, after_end=after_end)


def _mixed(column: str) -> BadData:
    return BadData(f"column {column!r} holds plain numbers and dates. Use one of both.")


def _other_kind(split: Split, times: Times, settings_file: str) -> str:
    kind = "dates" if times.dates else "plain numbers"
    return (
        f"{settings_file}: data.split.cuts are {'plain numbers' if times.dates else 'dates'}, and column "
        f"{split.time!r} holds {kind}, from {times.text(times.numbers.min())} on. Say the cuts as {kind}."
    )


def _no_rows(
    name: str, size: int, different: np.ndarray[Any, Any], times: Times, split: Split, settings_file: str
) -> str:
    gap = f" before a gap of {split.gap:,}" if size else ""
    return (
        f"{settings_file}: data.split: {name} gets {size:,} of {len(different):,} different times{gap}; column "
        f"{split.time!r} goes from {times.text(different[0])} to {times.text(different[-1])}. Bring more rows, move "
        f"the {'shares' if split.cuts is None else 'cuts'}{', or lower data.split.gap' if size else ''}."
    )
