"""What is remembered of every row while a table of examples is read, a few numbers each, and what they show together:
the same content twice, under two labels, or on both sides of the split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from core.schema.columns import FAULT, Contract
from core.schema.data import SPLITS, Split
from core.splits.split import sides
from core.splits.time_split import TimeSides
from core.tables.keys import Mask, Numbers, among, codes, loose_keys, repeated, row_keys

_ARRAYS = ("keys", "loose", "targets", "labels", "in_test")  # of Facts
_PRIME = 0x100000001B3  # mixes the codes of several columns, as FNV does


@dataclass(frozen=True)
class Facts:
    """One entry a row in each array, in the order of the table."""

    keys: Numbers  # equal: duplicates
    loose: Numbers  # equal: the same but for punctuation
    targets: Numbers  # equal: the same is said to be true
    labels: Numbers
    label_names: dict[int, str]
    in_test: Mask
    measures: dict[str, np.ndarray[Any, Any]]  # what drift compares: lengths and numbers


def facts_of(
    rows: pd.DataFrame,
    batch: pa.RecordBatch,
    contract: Contract,
    *,
    split: Split | None,
    by_time: TimeSides | None = None,
) -> Facts:
    """The facts of some rows, whose index is their position. split: None when nothing is split.

    batch: the same rows as they stand in the file.
    by_time: the splits of all rows of the table, where their times decide.
    """
    keys = row_keys(rows, contract)
    in_test = np.zeros(len(rows), dtype=bool)
    if by_time is not None:
        in_test = by_time.codes[rows.index] == SPLITS.index("test")
    elif split is not None:
        named = sides(keys, batch, split, linked=contract.links is not None)
        in_test = np.array([name == "test" for name in named], dtype=bool)
    labels, names = _coded(rows, [contract.label] if contract.label else [])
    return Facts(
        keys=codes(keys),
        loose=codes(loose_keys(rows, contract)),
        targets=_said(rows, contract),
        labels=labels,
        label_names={code: name for name, code in names.items()},
        in_test=in_test,
        measures=_measures(rows, contract),
    )


def joined(parts: Iterable[Facts], rows: int) -> Facts:
    """The facts of consecutive parts of a table of so many rows as those of the whole; no two parts are in memory."""
    arrays, measures = dict[str, np.ndarray[Any, Any]](), dict[str, np.ndarray[Any, Any]]()
    label_names: dict[int, str] = {}
    start = 0
    for part in parts:
        end = start + len(part.keys)
        for whole, some in ((arrays, {name: getattr(part, name) for name in _ARRAYS}), (measures, part.measures)):
            for name, values in some.items():
                if name not in whole:
                    whole[name] = np.empty(rows, values.dtype)
                whole[name][start:end] = values
        label_names |= part.label_names
        start = end
    return Facts(**arrays, label_names=label_names, measures=measures)


def label_counts(facts: Facts, rows: Numbers) -> dict[str, int]:
    """How many of these rows carry each label; those without one are left out."""
    values, counts = np.unique(facts.labels[rows], return_counts=True)
    named = {facts.label_names[int(value)]: int(count) for value, count in zip(values, counts, strict=True)}
    return {name: count for name, count in sorted(named.items()) if name}


def count_repeats(keys: Numbers, kept: Mask) -> int:
    """How many of the kept rows repeat the key of another one: what removing duplicates will remove."""
    ordered = np.sort(keys[kept])
    return int((ordered[1:] == ordered[:-1]).sum())


def contradictions(keys: Numbers, targets: Numbers, kept: Mask) -> Numbers:
    """The kept rows of whose key more than one thing is said to be true, all of them; ascending."""
    rows = np.flatnonzero(kept & among(keys, repeated(keys[kept])))
    if not len(rows):
        return rows
    order = rows[np.lexsort((targets[rows], keys[rows]))]
    new_key = np.r_[True, keys[order][1:] != keys[order][:-1]]
    new_target = new_key | np.r_[True, targets[order][1:] != targets[order][:-1]]
    group = np.cumsum(new_key) - 1
    per_group = np.bincount(group, weights=new_target)
    return np.sort(order[per_group[group] > 1])


def leaks(keys: Numbers, in_test: Mask, kept: Mask) -> Numbers:
    """The kept rows outside the test split whose key a kept row of the test split has as well; ascending."""
    tested = np.unique(keys[kept & in_test])
    return np.flatnonzero(kept & ~in_test & among(keys, tested))


def _measures(rows: pd.DataFrame, contract: Contract) -> dict[str, np.ndarray[Any, Any]]:
    found = {}
    for name, column in contract.columns.items():
        if name in rows and column.kind == "text":
            found[f"length of {name}"] = rows[name].astype("str").str.len().to_numpy(np.float64, na_value=np.nan)
        elif name in rows and column.kind in ("spans", "answers", "label_set", "links"):
            told = zip(rows[name], rows[FAULT].isna() & rows[name].notna(), strict=True)
            counts = [len(json.loads(cell)) if sound else np.nan for cell, sound in told]
            found[f"number of {name}"] = np.array(counts, dtype=np.float64)
        elif name in rows and column.kind == "number":
            found[name] = rows[name].to_numpy(np.float64, na_value=np.nan)
    for name in contract.measured:
        if name in rows and pd.api.types.is_numeric_dtype(rows[name]):
            found[name] = rows[name].to_numpy(np.float64, na_value=np.nan)
    return found


def _said(rows: pd.DataFrame, contract: Contract) -> Numbers:
    """A code for what is said to be true of each row: equal ones do not contradict each other."""
    names = [name for name in contract.compared if name in rows]
    numbers = [name for name in names if contract.columns[name].kind == "number"]
    said = _coded(rows, [name for name in names if name not in numbers])[0].view(np.uint64)
    for name in numbers:  # 0.0 + 0.0: minus zero is zero
        values = rows[name].to_numpy(np.float64, na_value=np.nan) + 0.0
        said = said * np.uint64(_PRIME) + pd.util.hash_array(values)
    return said.view(np.int64)


def _coded(rows: pd.DataFrame, columns: Sequence[str]) -> tuple[Numbers, dict[str, int]]:
    """A code for what each row has in the columns, and the code of each such text."""
    parts = [rows[name].fillna("").astype(str) for name in columns if name in rows]
    texts = ["\0".join(values) for values in zip(*parts, strict=True)] if parts else [""] * len(rows)
    names = {name: _code(name) for name in dict.fromkeys(texts)}
    return np.array([names[name] for name in texts], dtype=np.int64), names


def _code(name: str) -> int:
    return int(codes([sha256(name.encode("utf-8", "surrogatepass")).hexdigest()])[0])
