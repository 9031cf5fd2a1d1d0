"""validated/examples.parquet -> rows.parquet: in the order of row_id, one row a key, each with its split.

Rows go through files that hold a range of row ids each: what stays in memory is one of them, and some bytes a row.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.cells import label_sets, spans
from core.schema.columns import ROW_ID, Contract, set_aside
from core.schema.data import SPLITS, Split, SplitName
from core.splits.split import RANK, sides
from core.splits.time_split import TimeSides
from core.tables.keys import Numbers, among, codes, label_name, repeated, row_keys
from core.tables.prepared import KEY, SIDE
from core.tables.row_groups import batches

BATCH_ROWS = 10_000
RANGE_ROWS = 200_000  # in a file, about: the rows that are sorted in memory together
_LAST = max(RANK.values())  # of every row where no split is given: equal ones stand on one side
_HELD_BYTES = 64 * 2**20  # of rows that wait to be written into the files of their ranges
_SAMPLED = 10_000  # row ids that the ends of the ranges are taken from


@dataclass
class Counted:
    """How many rows were read, and what is in the splits of those that stayed.

    labels: how many rows, or spans, have each. values: those of the column to stratify by. groups: those of the column
    to group by, None without one. left_out: how many rows a split by time leaves out, by reason. crossed: rows that
    gave way to an equal one of another split, where splits are given. unsplit: rows of a graph that are of no split.
    """

    read: int
    rows: dict[SplitName, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    labels: dict[SplitName, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in SPLITS})
    values: dict[SplitName, set[str]] = field(default_factory=lambda: {name: set() for name in SPLITS})
    groups: set[str] = field(default_factory=set)
    left_out: dict[str, int] = field(default_factory=dict)
    crossed: dict[SplitName, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    unsplit: int = 0

    def add(self, rows: pa.Table, contract: Contract, split: Split) -> None:
        """Count the rows of a part. split: with the names that its columns have there."""
        self.unsplit += rows[SIDE].null_count
        for name in SPLITS:
            part = rows.filter(pc.equal(rows[SIDE], name))
            self.rows[name] += len(part)
            if contract.label is not None:
                self.labels[name].update(filter(None, part[contract.label].to_pylist()))
            for column in _several(contract):
                self.labels[name].update(_labels(part[column].to_pylist(), contract.columns[column].kind))
            if split.stratify is not None:
                self.values[name].update(_names(part[split.stratify]))
        if split.group_by is not None:
            self.groups.update(_names(rows[split.group_by]))


def write_distinct(
    examples: Path, target: Path, contract: Contract, split: Split, scratch: Path, by_time: TimeSides | None = None
) -> Counted:
    """Write the rows that stay, with their split and key; of rows with one key that of the lowest row id stays, unless
    the contract says that they are examples of their own. Rows of a graph that have no target, or that no split is
    given to, are of none: they stay as neighbours of the others.

    Where the splits are given, equal rows may be on two sides: those of the test stay, then those of the validation.
    scratch: a folder for what is in between. by_time: the rows' splits, where their times decide.
    """
    source = pq.ParquetFile(examples)
    own = {
        name: set_aside(name, (SIDE, KEY)) for name in source.schema_arrow.names if name not in (ROW_ID, _said(split))
    }
    text, types = pa.string(), source.schema_arrow.remove_metadata()
    schema = pa.schema(
        [(ROW_ID, text), (SIDE, text), (KEY, text), *(types.field(name).with_name(own[name]) for name in own)]
    )
    meant = {key: name for key in ("stratify", "group_by") if (name := getattr(split, key)) is not None}
    there = split.model_copy(update={key: own.get(name, name) for key, name in meant.items()})
    ends = _ends(source)
    files = [scratch / f"{number}.parquet" for number in range(len(ends) + 1)]
    ranks = _spread(source, schema, own, contract, split, by_time, ends, files)
    counted, seen = Counted(source.metadata.num_rows), set[str]()
    if by_time is not None:
        counted.left_out = by_time.left_out
    with pq.ParquetWriter(target, schema) as writer:
        for file in files:
            table = pq.read_table(file).sort_by(ROW_ID)
            file.unlink()
            stays = _first(table[KEY].to_pylist(), table[SIDE].to_pylist(), ranks, seen, counted.crossed)
            table = table.filter(pa.array(stays, pa.bool_()))
            writer.write_table(table, row_group_size=BATCH_ROWS)
            named = (SIDE, contract.label, *_several(contract), there.stratify, there.group_by)
            counted.add(table.select(list(dict.fromkeys(filter(None, named)))), contract, there)
    return counted


def _names(column: pa.ChunkedArray) -> set[str]:
    return {name for value in column.to_pylist() if (name := label_name(value)) is not None}


def _said(split: Split) -> str | None:
    """The column of given splits, where it is called as ours is, which says the same."""
    return SIDE if split.given == SIDE else None


def _several(contract: Contract) -> list[str]:
    """The targets of which one cell may hold several labels."""
    return [name for name in contract.targets if contract.columns[name].kind in ("spans", "label_set")]


def _labels(cells: Iterable[str], kind: str) -> Iterator[str]:
    for cell in cells:
        yield from label_sets.listed(cell) if kind == "label_set" else (span.label for span in spans.listed(cell))


def _ends(source: pq.ParquetFile) -> list[str]:
    """The row ids at which one range ends and the next begins."""
    rows = source.metadata.num_rows
    step, sampled = max(1, rows // _SAMPLED), []
    for batch in batches(source, BATCH_ROWS, [ROW_ID]):
        sampled += batch.column(0).to_pylist()[::step]
    sampled.sort()
    ranges = -(-rows // RANGE_ROWS)
    return [sampled[len(sampled) * at // ranges] for at in range(1, ranges)]


def _spread(
    source: pq.ParquetFile,
    schema: pa.Schema,
    own: Mapping[str, str],
    contract: Contract,
    split: Split,
    by_time: TimeSides | None,
    ends: Sequence[str],
    files: list[Path],
) -> dict[int, int]:
    """Write every row, with its split and key, into the file of its range. own: column of the source -> of the schema.

    Returns the codes of repeated keys, and the lowest RANK of the splits that each may be given; none where rows of
    one key all stay.
    """
    found: list[Numbers] = [np.empty(0, np.int64)]
    ranks = [np.empty(0, np.int8)]
    waiting: list[list[pa.Table]] = [[] for _ in files]
    held = start = 0
    with ExitStack() as stack:
        writers = [stack.enter_context(pq.ParquetWriter(file, schema, compression="lz4")) for file in files]
        for batch in batches(source, BATCH_ROWS):
            rows = batch.to_pandas()
            keys = row_keys(rows, contract)
            found.append(codes(keys))
            if by_time is None:
                names = pa.array(sides(keys, batch, split, linked=contract.links is not None), pa.string())
            else:
                names = pa.array(by_time.names(slice(start, start := start + len(rows))), pa.string())
            if contract.links is not None:
                told = rows[list(contract.targets)].notna().all(axis="columns").to_numpy()
                names = pc.if_else(pa.array(told), names, pa.scalar(None, pa.string()))
            by_split = split.given is not None
            given = [RANK.get(name, _LAST) if by_split else _LAST for name in names.to_pylist()]
            ranks.append(np.array(given, dtype=np.int8))
            added = {ROW_ID: batch[ROW_ID], SIDE: names, KEY: pa.array(keys, pa.string())}
            added |= {column: batch[name] for name, column in own.items()}
            table = pa.table([added[name] for name in schema.names], schema)
            if contract.links is None:
                stays = table[SIDE].is_valid()
                table, rows = table.filter(stays), rows[stays.to_numpy()]
            ranges = np.array([bisect_right(ends, row_id) for row_id in rows[ROW_ID]])
            for at in np.unique(ranges):
                waiting[at].append(table.filter(pa.array(ranges == at)))
            held += table.nbytes
            if held > _HELD_BYTES:
                _write(waiting, writers)
                held = 0
        _write(waiting, writers)
    if contract.repeats:
        return {}
    all_keys, all_ranks = np.concatenate(found), np.concatenate(ranks)
    values = repeated(all_keys)
    again = among(all_keys, values)
    lowest = np.full(len(values), _LAST)
    np.minimum.at(lowest, np.searchsorted(values, all_keys[again]), all_ranks[again])
    return dict(zip(values.tolist(), lowest.tolist(), strict=True))


def _write(waiting: Sequence[list[pa.Table]], writers: Sequence[pq.ParquetWriter]) -> None:
    """Write what waits for each range as one row group: of many small ones the footers alone took a gigabyte."""
    for tables, writer in zip(waiting, writers, strict=True):
        if tables:
            writer.write_table(pa.concat_tables(tables))
            tables.clear()


def _first(
    keys: Sequence[str],
    names: Sequence[SplitName],
    ranks: Mapping[int, int],
    seen: set[str],
    crossed: dict[SplitName, int],
) -> Iterator[bool]:
    """Whether each key is the first of its kind in the split where it stays; only repeated ones are remembered.

    crossed: gains, by split, those that stand in another split too and stay there.
    """
    for key, code, name in zip(keys, codes(keys).tolist(), names, strict=True):
        if code not in ranks:
            yield True
        elif RANK.get(name, _LAST) > ranks[code]:
            crossed[name] += 1
            yield False
        else:
            yield key not in seen
            seen.add(key)
