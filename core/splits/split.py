"""Which side of the split an example stands on: thresholds on a hash of its content, and of nothing else.

So a new row never moves an old one, and equal content is never on two sides. By time: core/splits/time_split.py. A data
set that was published with its splits says them in a column instead; of equal content on two sides, the test's row
stays, then the validation's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from core.errors import BadData, BadRequest, near
from core.schema.columns import PLACE, Contract, meant
from core.schema.data import SPLITS, Split, SplitName
from core.tables.keys import label_name

if TYPE_CHECKING:
    import pyarrow as pa

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


def sides(
    keys: Sequence[str], rows: pa.RecordBatch | pa.Table, split: Split, *, linked: bool = False
) -> list[SplitName | None]:
    """The split of each row, by its key, or by the value of `group_by` where it has one.

    With `given` it is what that column says, None where it says nothing. Raises BadData for another value.
    rows: with the columns that the split names. linked: they are one graph, where a row may be of no split: it says
    nothing, or "none". A group is read as it stands there: pandas makes floats of whole
    numbers among which one is missing, and long ones would lose digits.
    """
    if split.given is not None:
        return _given(rows, split.given, split.values, none=("", "none") if linked else ())
    groups = [None] * len(keys) if split.group_by is None else map(label_name, rows[split.group_by].to_pylist())
    return [side(key if group is None else f"group:{group}", split) for key, group in zip(keys, groups, strict=True)]


def _given(
    rows: pa.RecordBatch | pa.Table,
    column: str,
    values: Mapping[SplitName, Sequence[str | int | float]] | None,
    none: Collection[str],
) -> list[SplitName | None]:
    named_by = map(label_name, rows[column].to_pylist())
    said = [None if name in none else name for name in named_by]
    if values is not None:
        named = {label_name(value): name for name, listed in values.items() for value in listed}
        return [None if name is None else named.get(name, "train") for name in said]
    unknown = {name: at for at, name in reversed(list(enumerate(said))) if name is not None and name not in GIVEN}
    if unknown:
        names = ", ".join(map(repr, sorted(unknown)[:_SHOWN]))
        first = rows[PLACE][min(unknown.values())].as_py()
        raise BadData(
            f"data.split.given: the column {column!r} says {names} (first: {first}). "
            "Allowed: train, validation (or valid, val, dev), test."
        )
    return [None if name is None else GIVEN[name] for name in said]


def with_columns(split: Split, columns: Collection[str], contract: Contract, settings_file: str) -> Split:
    """The split with the columns of a table that its names mean. Raises BadRequest for one that is not there."""
    found = {key: meant(name, columns, contract.added) for key in COLUMNS if (name := getattr(split, key)) is not None}
    for key, name in found.items():
        if name not in columns:
            raise BadRequest(
                f"{settings_file}: data.split.{key}: the data has no column {name!r}. "
                f"{near(name, columns)}Columns: {', '.join(sorted(columns))}"
            )
    return split.model_copy(update=found)


def absent_values(found: Mapping[SplitName, Collection[str]], split: Split) -> Mapping[SplitName, list[str]]:
    """For each split that should have rows, the values of `stratify` that do not stand in it.

    found: the values in each split. Nothing is moved: this only tells.
    """
    every = {value for values in found.values() for value in values}
    absent = {name: sorted(every - set(found[name])) for name in SPLITS if getattr(split, name) > 0}
    return {name: values for name, values in absent.items() if values}
