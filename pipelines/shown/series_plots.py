"""Series as pictures: every step that was read, and the windows that were forecast worst."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq

from core.schema.columns import Contract
from core.schema.data import SPLITS
from core.splits.time_split import Times, times_of
from core.tables.prepared import ENCODER, ROWS, SIDE
from core.workspace import Job
from pipelines.shown.wrong_answers import WrongAnswer
from pipelines.tasks.parts.inputs import series
from pipelines.tasks.parts.inputs.contexts import FUTURE
from pipelines.tasks.parts.plots import drawn

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS, _SERIES, _STEPS = 8, 6, 2000  # that a picture of rows has room for: columns, series, steps of each
_WINDOWS = 10
_BEFORE = 4  # horizons of what was before a window
_GAP = 1.5  # usual steps: a longer one is a gap
_WIDTH, _OF_COLUMN, _OF_WINDOW, _AROUND = 10.0, 1.5, 1.9, 0.8  # inches
_SHADES = {"validation": "#eeeeee", "test": "#dbe9f6"}

Floats = np.ndarray[Any, np.dtype[np.float64]]


def is_series(contract: Contract) -> bool:
    """Whether the rows of a contract are steps of time."""
    return any(column.kind == "time" for column in contract.columns.values())


def plot_steps(job: Job, contract: Contract, title: str, path: Path) -> None:
    """Write every column of numbers over time as PNG, validation and test shaded where they lie apart in time.

    Long series are drawn by every so many steps; of many series or columns, the first.
    """
    rows, numbers = _steps(job, contract)
    times, names = times_of(rows[series.WHEN], column=series.WHEN), series.series_names(rows)
    columns, shown = numbers[:_COLUMNS], list(dict.fromkeys(names))[:_SERIES]
    panels = [_OF_COLUMN] * max(len(columns), 1)
    with drawn(path, _WIDTH, _AROUND + sum(panels), texts=[*columns, *shown], panels=panels) as (axes, told):
        for panel, column, label in zip(axes, columns, told, strict=False):
            _shade(panel, job, dates=times.dates)
            for name, called in zip(shown, told[len(columns) :], strict=True):
                mine = (names == name).to_numpy(bool)
                when, values = _thinned(times.numbers[mine], rows[column].to_numpy(float)[mine])
                panel.plot(_on_axis(when, dates=times.dates), values, linewidth=0.8, label=called or None)
            panel.set_ylabel(label)
            panel.tick_params(labelsize="small", labelbottom=panel is axes[-1])
        _legend(axes[0])
        axes[0].figure.suptitle(title + _left_out(numbers, len(set(names)), len(rows)))


def plot_windows(job: Job, rows: Sequence[WrongAnswer], title: str, path: Path) -> None:
    """Write windows below each other as PNG: what was before, what came, the forecast and its interval.

    Of several columns the one whose forecast is farthest from what came, in standard deviations.
    """
    known, shown = series.read(job.folder / "prepared" / ENCODER), rows[:_WINDOWS]
    panels = [_OF_WINDOW] * max(len(shown), 1)
    names = list(dict.fromkeys(str(row.cells[series.NAME] or "") for row in shown))
    with drawn(path, _WIDTH, _AROUND + sum(panels), texts=[*names, *known.values], panels=panels) as (axes, told):
        spelled = dict(zip(names, told, strict=False))
        for panel, row in zip(axes, shown, strict=False):
            column = worst_column(row, known)
            _window(panel, row, known, column)
            called = ", ".join(filter(None, [spelled[str(row.cells[series.NAME] or "")], str(row.cells[series.WHEN])]))
            error = f"{called}: mean squared error {row.error:.3g}, standardised"
            panel.set_title(error, fontsize="medium", loc="left")
            panel.set_ylabel(told[len(names) + column])
            panel.tick_params(labelsize="small")
        _legend(axes[-1], below=True)
        axes[-1].set_xlabel("steps; the first that is forecast is 1", loc="left")
        of_each = "; of each its worst column" if len(known.values) > 1 else ""
        axes[0].figure.suptitle(title + of_each)


def _steps(job: Job, contract: Contract) -> tuple[pd.DataFrame, list[str]]:
    """The rows that were read, as far as they have a time, and those of their columns in which there is a number."""
    import pandas as pd

    file = job.folder / "validated" / "examples.parquet"
    there = pq.read_schema(file).names
    numbers = [name for name, column in contract.columns.items() if column.kind == "number" and name in there]
    rows = pq.read_table(file, columns=[name for name in (series.WHEN, series.NAME) if name in there] + numbers)
    found: pd.DataFrame = rows.to_pandas()
    found[numbers] = found[numbers].apply(pd.to_numeric, errors="coerce")
    return found[found[series.WHEN].notna()], [name for name in numbers if found[name].notna().any()]


def _thinned(times: Floats, values: Floats) -> tuple[Floats, Floats]:
    """In the order of time, by every so many steps; a line breaks where there is no number, or where a gap lies."""
    order = np.argsort(times, kind="stable")
    order = order[:: -(-len(order) // _STEPS) or 1]
    times, values = times[order], values[order]
    between = np.diff(times)
    gaps = np.flatnonzero(between > _GAP * np.median(between)) + 1 if len(between) else np.empty(0, int)
    return np.insert(times, gaps, times[gaps]), np.insert(values, gaps, np.nan)


def _legend(axes: Any, *, below: bool = False) -> None:
    """Outside of the axes, so that it hides nothing: above them, or at the right end of what stands below them."""
    if axes.get_legend_handles_labels()[1]:
        place: dict[str, Any] = (
            {"loc": "upper right", "bbox_to_anchor": (1, -0.12)}
            if below
            else {"loc": "lower left", "bbox_to_anchor": (0, 1)}
        )
        axes.legend(**place, fontsize="small", frameon=False, ncols=_SERIES + len(_SHADES))


def _window(axes: Any, row: WrongAnswer, known: series.Series, column: int) -> None:
    name = known.values[column]
    before = np.asarray(_of(row.cells[series.VALUE], name), float)[-_BEFORE * known.horizon :]
    past, ahead = np.arange(1 - len(before), 1), np.arange(1, known.horizon + 1)
    came = _future(row, known)[:, column]
    lower, said, upper = (_of(row.answer[which], name) for which in ("lower", "forecast", "upper"))
    axes.axvline(0.5, color="#999999", linewidth=0.8)
    axes.fill_between(ahead, lower, upper, alpha=0.2, color="C0", label=f"{known.coverage:.0%} interval")
    axes.plot(past, before, color="#777777", linewidth=0.9, label="before")
    axes.plot(ahead, came, color="black", label="true")
    axes.plot(ahead, said, color="C0", label="forecast")
    axes.margins(x=0.01)


def worst_column(row: WrongAnswer, known: series.Series) -> int:
    """The place of the column with the largest squared error, in its own standard deviations."""
    said = np.array([_of(row.answer["forecast"], name) for name in known.values], float).T
    errors = (said - _future(row, known)) / np.array(known.deviation[: len(known.values)])
    return int(np.argmax((errors**2).mean(axis=0)))


def _future(row: WrongAnswer, known: series.Series) -> Floats:
    """(horizon, columns)."""
    return np.asarray(row.cells[FUTURE], float).reshape(known.horizon, len(known.values))


def _of(lists: Any, name: str) -> Any:
    """The numbers of a column; of a single one they stand without its name."""
    return lists[name] if isinstance(lists, Mapping) else lists


def _on_axis(numbers: Floats, *, dates: bool) -> Any:
    return (numbers * 1e6).astype("datetime64[us]") if dates else numbers


def _shade(axes: Any, job: Job, *, dates: bool) -> None:
    file = job.folder / "prepared" / ROWS
    if file.is_file():
        for name, (first, last) in _apart(pq.read_table(file, columns=[SIDE, series.WHEN]).to_pandas()):
            axes.axvspan(*_on_axis(np.array([first, last]), dates=dates), color=_SHADES[name], label=name, linewidth=0)


def _apart(rows: pd.DataFrame) -> Iterator[tuple[str, tuple[float, float]]]:
    """Validation and test, with their first and last time, where no split reaches into another."""
    times: Times = times_of(rows[series.WHEN], column=series.WHEN)
    found = {name: times.numbers[(rows[SIDE] == name).to_numpy(bool)] for name in SPLITS}
    ends = {name: (float(each.min()), float(each.max())) for name, each in found.items() if len(each)}
    spans = sorted(ends.values())
    if all(one[1] <= two[0] for one, two in pairwise(spans)):
        yield from ((name, ends[name]) for name in _SHADES if name in ends)


def _left_out(numbers: Sequence[str], names: int, rows: int) -> str:
    """What a picture has no room for, in words."""
    parts = [
        *([f"{_COLUMNS} of {len(numbers)} columns"] if len(numbers) > _COLUMNS else []),
        *([f"{_SERIES} of {names:,} series"] if names > _SERIES else []),
        *(["not every step"] if rows > _STEPS * names else []),
    ]
    return f" ({', '.join(parts)})" if parts else ""
