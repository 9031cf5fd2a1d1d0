"""Which side of the split an example stands on: thresholds on a hash of its content, and of nothing else.

So a new row never moves an old one, and equal content is never on two sides. By time: core/tables/time_split.py. A data
set that was published with its splits says them in a column instead; of equal content on two sides, the test's row
stays, then the validation's.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

from core.errors import BadData, BadRequest, near
from core.schema.columns import PLACE
from core.schema.data import SPLITS, Split, SplitName

COLUMNS = ("stratify", "group_by", "time", "given")  # settings of a split that name a column
GIVEN: Mapping[str, SplitName] = {  # what a column may call the splits
    "train": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test",
}  # fmt: skip
RANK = {"test": 0, "validation": 1, "train": 2}  # of equal rows, one of the split that comes first stays
_SHOWN = 5  # unknown values that a message repeats


def fraction(key: str, seed: int) -> float:
    """A number in [0, 1) that depends on the seed and the key alone, evenly spread over keys."""
    digest = hashlib.sha256(f"{seed}:{key}".encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def side(key: str, split: Split) -> SplitName:
    """The split of the example, or group of examples, with this key."""
    position = fraction(key, split.seed)
    if position < split.train:
        return "train"
    return "validation" if position < split.train + split.validation else "test"


def sides(rows: pd.DataFrame, split: Split) -> pd.Series[str]:
    """The split of each row, by its `key` column, or by the value of `group_by` where it has one.

    With `given` it is what that column says, or "" where it says nothing. Raises BadData for another value.
    """
    if split.given is not None:
        return _given(rows, split.given)
    groups = [None] * len(rows) if split.group_by is None else map(group_name, rows[split.group_by])
    names = (key if group is None else f"group:{group}" for key, group in zip(rows["key"], groups, strict=True))
    return pd.Series([side(name, split) for name in names], index=rows.index, dtype="str")


def _given(rows: pd.DataFrame, column: str) -> pd.Series[str]:
    said = rows[column].map(group_name)
    unknown = rows[said.notna() & ~said.isin(list(GIVEN))]
    if len(unknown):
        names = ", ".join(map(repr, sorted(said[unknown.index].unique())[:_SHOWN]))
        raise BadData(
            f"data.split.given: the column {column!r} says {names} (first: {unknown[PLACE].iloc[0]}). "
            "Allowed: train, validation (or valid, val, dev), test."
        )
    return said.map(GIVEN).fillna("").astype("str")


def group_name(value: Any) -> str | None:
    """A group's value as text, the same whatever type a table gave its column; None for a missing value.

    A column of whole numbers turns into floats as soon as one value is missing: 7 and 7.0 are one group.
    """
    if pd.isna(value):
        return None
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)


def check_columns(split: Split, columns: Collection[str], settings_file: str) -> None:
    """Raise BadRequest when the split names a column that the data does not have."""
    for key in COLUMNS:
        name = getattr(split, key)
        if name is not None and name not in columns:
            raise BadRequest(
                f"{settings_file}: data.split.{key}: the data has no column {name!r}. "
                f"{near(name, columns)}Columns: {', '.join(sorted(columns))}"
            )


def absent_values(found: Mapping[SplitName, Collection[str]], split: Split) -> Mapping[SplitName, list[str]]:
    """For each split that should have rows, the values of `stratify` that do not stand in it.

    found: the values in each split. Nothing is moved: this only tells.
    """
    every = {value for values in found.values() for value in values}
    absent = {name: sorted(every - set(found[name])) for name in SPLITS if getattr(split, name) > 0}
    return {name: values for name, values in absent.items() if values}
