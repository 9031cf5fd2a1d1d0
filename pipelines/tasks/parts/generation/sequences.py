"""Token sequences of which some tokens are to be foretold: cut into windows, and packed without padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Part:
    """Tokens of a row. of: which row. ids: (tokens,). own: (tokens,), whether each is foretold from those before it."""

    of: int
    ids: Array
    own: Array


def windows(sequences: Iterable[Part], size: int, *, context: int = 1) -> Iterator[Part]:
    """Each sequence in parts of at most `size` tokens; every own token is own in exactly one of them.

    context: how many tokens a part begins with that stood in the one before it, so that no token lacks them.
    Parts without an own token are left out.
    """
    for whole in sequences:
        for start in range(0, max(1, len(whole.ids) - context), size - context):
            own = whole.own[start : start + size].copy()
            own[: context if start else 0] = False
            if own.any():
                yield Part(whole.of, whole.ids[start : start + size], own)


def encoded(parts: Sequence[Part]) -> pa.Table:
    """A row a part."""
    return pa.table(
        {
            "of": pa.array([part.of for part in parts], pa.int64()),
            "input_ids": pa.array([part.ids for part in parts], pa.list_(pa.int32())),
            "own": pa.array([part.own for part in parts], pa.list_(pa.bool_())),
        }
    )


def packed(table: pa.Table, size: int) -> pa.Table:
    """Parts one behind the other, as many as fit into `size` tokens a row; positions begin anew with each part.

    Neighbours stay neighbours, so nothing is copied: a row is a run of the same numbers.
    """
    table = table.combine_chunks()
    lengths = pc.list_value_length(table["input_ids"]).to_numpy()
    ends, starts = np.cumsum(lengths), [0]
    for at in range(1, len(lengths)):
        first = starts[-1]
        if ends[at] - (ends[first - 1] if first else 0) > size:
            starts.append(at)
    begins = np.concatenate([[0], ends])[starts] if len(lengths) else np.empty(0, np.int64)
    offsets = pa.array(np.append(begins, ends[-1] if len(ends) else 0), pa.int32())
    positions = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)
    columns = {name: _flat(table[name]) for name in ("input_ids", "own")}
    columns["position_ids"] = pa.array(positions, pa.int32())
    return pa.table({name: pa.ListArray.from_arrays(offsets, values) for name, values in columns.items()})


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays([chunk.flatten() for chunk in column.chunks] or [pa.array([], column.type.value_type)])
