"""predictions.parquet: what the model and each baseline said about every test row, for people and for the gates.

For people: label, predicted, confidence, one probability column a class. For code: the schema's metadata say which
columns make up which array, so that any task's predictions come back as they were.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.schema.columns import ROW_ID
from core.tables.task import Predictions

if TYPE_CHECKING:
    import pandas as pd

_KEY = b"headrace"
_TRUE = "true."
MOST_COLUMNS = 64  # of one array; a wider one is a column of lists: a forecast of a day for seven series has 168

Columns = dict[str, Any]  # name of an array -> its column, or its columns when it has two dimensions


@dataclass(frozen=True)
class Answered:
    """Test rows, what is true about them, and what each model said; every array has one entry a row."""

    row_ids: Sequence[str]
    truth: Predictions
    model: Predictions
    baselines: Mapping[str, Predictions]


def write_predictions(
    answered: Answered,
    path: Path,
    *,
    axes: Mapping[str, Sequence[str]],
    readable: Mapping[str, pd.DataFrame],
    answers: Mapping[str, str] | None = None,
) -> None:
    """Write predictions.parquet.

    axes: names along an array's second axis. readable: columns for people, by the prefix of their names.
    answers: what a served model calls its answers -> the readable column that has them.
    """
    columns: dict[str, Any] = {ROW_ID: pa.array(answered.row_ids, pa.string())}
    for prefix, frame in readable.items():
        columns |= {f"{prefix}{name}": pa.array(frame[name].to_numpy()) for name in frame.columns}
    layout = {
        "truth": _lay(answered.truth, _TRUE, axes, columns),
        "model": _lay(answered.model, "", axes, columns),
        "baselines": {name: _lay(said, f"{name}.", axes, columns) for name, said in answered.baselines.items()},
        "answers": dict(answers or {}),
        "axes": {name: list(axes[name]) for name, array in answered.model.items() if _wide(array) and name in axes},
    }
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(layout)})
    pq.write_table(table, path, compression="zstd")


def read_predictions(path: Path) -> Answered:
    """What write_predictions() was given."""
    table = pq.read_table(path)
    layout = json.loads(table.schema.metadata[_KEY])
    return Answered(
        table[ROW_ID].to_pylist(),
        _gather(table, layout["truth"]),
        _gather(table, layout["model"]),
        {name: _gather(table, parts) for name, parts in layout["baselines"].items()},
    )


def rows_hash(answered: Answered) -> str:
    """A sha256 of the test rows, in any order: their ids and what is true about them."""
    return hashlib.sha256("".join(_true_rows(answered)).encode()).hexdigest()


def covers(kept: Answered, asked: Answered) -> bool:
    """Whether `kept` says something about each row of `asked`, and the same was true about it."""
    return set(_true_rows(asked)) <= set(_true_rows(kept))


def read_answers(path: Path, rows: int) -> pd.DataFrame:
    """row_id, and what a served model should answer for the first rows, under its own names."""
    import pandas as pd

    names = json.loads(pq.read_schema(path).metadata[_KEY])["answers"]
    table = pq.read_table(path, columns=[ROW_ID, *names.values()]).slice(0, rows)
    return pd.DataFrame(table.rename_columns([ROW_ID, *names]).to_pydict())


def axis_names(path: Path) -> dict[str, list[str]]:
    """Names along the second axis of the model's two-dimensional arrays, as write_predictions() was given them.

    None of those of a column of lists that an earlier Headrace wrote.
    """
    layout = json.loads(pq.read_schema(path).metadata[_KEY])
    narrow = {
        name: [column.removeprefix(f"{name}.") for column in columns]
        for name, columns in layout["model"].items()
        if isinstance(columns, list)
    }
    wide: dict[str, list[str]] = layout.get("axes", {})
    return narrow | wide


def _true_rows(answered: Answered) -> Iterator[str]:
    """A line a row, in the order of their ids: the id and what is true about it."""
    names = sorted(answered.truth)
    for row_id, *true in sorted(zip(answered.row_ids, *(answered.truth[name].tolist() for name in names), strict=True)):
        yield json.dumps([row_id, dict(zip(names, true, strict=True))]) + "\n"


def _lay(arrays: Predictions, prefix: str, axes: Mapping[str, Sequence[str]], columns: dict[str, Any]) -> Columns:
    """Add the arrays to `columns`. Returns which column or columns each one became."""
    layout: Columns = {}
    for name, array in arrays.items():
        if array.ndim == 1:
            layout[name] = f"{prefix}{name}"
            columns[layout[name]] = pa.array(array)
        elif _wide(array):
            layout[name] = f"{prefix}{name}.values"
            columns[layout[name]] = pa.FixedSizeListArray.from_arrays(pa.array(array.reshape(-1)), array.shape[1])
        else:
            names = axes.get(name, [str(at) for at in range(array.shape[1])])
            layout[name] = [f"{prefix}{name}.{each}" for each in names]
            columns |= {column: pa.array(array[:, at]) for at, column in enumerate(layout[name])}
    return layout


def _wide(array: np.ndarray[Any, Any]) -> bool:
    """Whether an array is kept as a column of lists."""
    return array.ndim > 1 and array.shape[1] > MOST_COLUMNS


def _gather(table: pa.Table, layout: Columns) -> dict[str, np.ndarray[Any, Any]]:
    return {
        name: _array(table[parts])
        if isinstance(parts, str)
        else np.stack([table[part].to_numpy() for part in parts], axis=1)
        for name, parts in layout.items()
    }


def _array(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """A column's values; (rows, width) of a column of lists."""
    if not pa.types.is_fixed_size_list(column.type):
        return np.asarray(column.to_numpy())
    parts = [chunk.flatten().to_numpy() for chunk in column.chunks]
    return np.concatenate([parts[0][:0], *parts]).reshape(-1, column.type.list_size)
