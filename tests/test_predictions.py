"""predictions.parquet comes back as it was written, and reads well without this project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.tables.predictions import MOST_COLUMNS, Answered, read_predictions, rows_hash, write_predictions


@pytest.fixture
def answered() -> Answered:
    shares = np.array([[0.9, 0.1], [0.25, 0.75]])
    return Answered(
        ["r1", "r2"],
        {"label": np.array([0, 1])},
        {"probabilities": shares, "seconds": np.array([1.5, 2.5])},
        {"majority": {"probabilities": shares[::-1]}},
    )


def test_arrays_come_back(answered: Answered, tmp_path: Path) -> None:
    _write(answered, tmp_path / "p.parquet")
    back = read_predictions(tmp_path / "p.parquet")
    assert back.row_ids == answered.row_ids
    for ours, theirs in (
        (back.truth, answered.truth),
        (back.model, answered.model),
        (back.baselines["majority"], answered.baselines["majority"]),
    ):
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


def test_pandas_reads_columns_by_class(answered: Answered, tmp_path: Path) -> None:
    _write(answered, tmp_path / "p.parquet")
    frame = pd.read_parquet(tmp_path / "p.parquet")
    assert {"row_id", "label", "predicted", "probabilities.no", "probabilities.yes", "seconds"} <= set(frame.columns)
    assert frame["probabilities.yes"].tolist() == [0.1, 0.75]
    assert frame["majority.probabilities.no"].tolist() == [0.25, 0.9]


def test_equal_answers_are_equal_files(answered: Answered, tmp_path: Path) -> None:
    for name in ("a", "b"):
        _write(answered, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("width", [MOST_COLUMNS, MOST_COLUMNS + 1])
def test_wide_arrays_are_one_column(answered: Answered, tmp_path: Path, width: int) -> None:
    """A forecast of hundreds of numbers a row is one column, and comes back as it was, whatever people read beside."""
    wide = np.arange(2.0 * width, dtype=np.float32).reshape(2, width)
    given = Answered(answered.row_ids, {"future": wide + 1}, {"forecast": wide}, {})
    _write(given, tmp_path / "p.parquet")
    back = read_predictions(tmp_path / "p.parquet")
    for ours, theirs in ((back.truth["future"], wide + 1), (back.model["forecast"], wide)):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == np.float32
    assert (len(pd.read_parquet(tmp_path / "p.parquet").columns) < 10) == (width > MOST_COLUMNS)
    assert rows_hash(back) == rows_hash(given)


def _write(answered: Answered, path: Path) -> None:
    readable = {"": pd.DataFrame({"label": ["no", "yes"], "predicted": ["no", "yes"], "forecast": [1, 2]})}
    write_predictions(answered, path, axes={"probabilities": ["no", "yes"]}, readable=readable)
