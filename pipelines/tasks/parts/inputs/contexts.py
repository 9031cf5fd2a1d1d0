"""Windows of series as objects: what a caller sends is the past, and what is evaluated has the future beside it.

{"value": [30.5, 27.8, ...]}, or {"value": {"HUFL": [...], "OT": [...]}} where several columns are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import BadRequest
from core.schema.columns import ROW_ID
from core.splits.time_split import times_of
from pipelines.tasks.parts.inputs.series import NAME, VALUE, WHEN, Series, name_codes, series_names, standardised
from pipelines.tasks.parts.inputs.windows import Steps, in_order, starts

if TYPE_CHECKING:
    import pandas as pd

FUTURE = "future"  # column of units: what came, in the rows' own measure, step after step, channel after channel
Array = np.ndarray[Any, np.dtype[Any]]


def units(rows: pd.DataFrame, before: pd.DataFrame, known: Series) -> pd.DataFrame:
    """One row a window: its row_id, series and time, the first that is forecast; value (sent) and future (true).

    rows: of the split that is evaluated. before: of the splits before it, maybe none; their last steps are context
    where no gap lies between.
    """
    import pandas as pd

    earlier = _steps(before, known).last(known.context) if len(before) else None
    steps = _steps(rows, known, earlier)
    found = starts(steps, context=known.context, horizon=known.horizon, longest=known.longest, stride=known.spacing)
    names = dict(zip(name_codes(rows).tolist(), series_names(rows), strict=True))
    text = times_of(rows[WHEN], column=WHEN).text
    made: list[dict[str, Any]] = []
    for start in found.tolist():
        now, end = start + known.context, start + known.context + known.horizon
        name = names[int(steps.series[now])]
        made.append(
            {
                ROW_ID: f"{name} {text(steps.times[now])}".strip(),
                NAME: name,
                WHEN: text(steps.times[now]),
                VALUE: _sent(steps.values[start:now], known.columns),
                FUTURE: steps.values[now:end, : len(known.values)].reshape(-1).tolist(),
            }
        )
    return pd.DataFrame(made, columns=[ROW_ID, NAME, WHEN, VALUE, FUTURE])


def contexts(rows: pd.DataFrame, known: Series) -> Array:
    """(rows, context, columns) float32, standardised: the last steps of what was sent.

    Raises BadRequest for a column that is missing, lists of unequal or too small length, and what is no number.
    """
    made = np.empty((len(rows), known.context, len(known.columns)), np.float64)
    sent = rows[VALUE] if VALUE in rows else [None] * len(rows)
    for at, one in enumerate(sent):
        lists = one if isinstance(one, Mapping) else {known.columns[0]: one}
        try:
            for column, name in enumerate(known.columns):
                made[at, :, column] = _numbers(lists.get(name), known.context)
        except ValueError as fault:
            raise BadRequest(
                f"input {at + 1}: {VALUE} {'' if len(known.columns) == 1 else f'of {name!r} '}{fault}. "
                f"Needed are the last {known.context:,} steps of {', '.join(known.columns)}."
            ) from None
        if len({len(lists[name]) for name in known.columns}) > 1:
            told = ", ".join(f"{name} {len(lists[name]):,}" for name in known.columns)
            raise BadRequest(f"input {at + 1}: {VALUE} has lists of different lengths: {told}.")
    return standardised(made, known)


def _steps(rows: pd.DataFrame, known: Series, before: Steps | None = None) -> Steps:
    """Steps with values as they are, not standardised."""
    values = rows[known.columns].to_numpy(np.float64)
    return in_order(name_codes(rows), times_of(rows[WHEN], column=WHEN).numbers, values, before)


def _sent(values: Array, columns: Sequence[str]) -> Any:
    lists = {name: values[:, at].tolist() for at, name in enumerate(columns)}
    return lists if len(columns) > 1 else lists[columns[0]]


def _numbers(sent: Any, context: int) -> Array:
    """The last steps of what was sent. Raises ValueError, saying what it is instead."""
    if not isinstance(sent, Sequence | np.ndarray) or isinstance(sent, str):
        raise ValueError("is no list of numbers")
    if len(sent) < context:
        raise ValueError(f"has {len(sent):,} steps")
    try:
        numbers = np.asarray(sent[-context:], dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != (context,) or not np.isfinite(numbers).all():
        raise ValueError("holds something that is no finite number")
    return numbers
