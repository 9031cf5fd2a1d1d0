"""preprocess: validated/ (+ media in raw/) -> prepared/. Drops duplicates, splits by content, encodes each split."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.atomic_files import replacing, write_json
from core.errors import BadData
from core.manifest import require_whole, write_manifest
from core.progress import Progress
from core.schema.columns import ROW_ID, Contract
from core.schema.data import SPLITS, Split, SplitName
from core.splits.split import absent_values, with_columns
from core.splits.time_split import sides_of_table
from core.tables.keys import alike, alike_warning
from core.tables.prepared import ENCODER, ROWS, STATISTICS, Rows, write_features
from core.tables.spelling import some
from core.tables.task import Place, Task
from core.workspace import Job
from pipelines.place import place_of
from pipelines.preprocess.distinct_rows import BATCH_ROWS, Counted, write_distinct
from pipelines.tasks import find_task

_OF = "of"  # a column of features: which row each belongs to, where that is not one each
_ROWS_AT_ONCE = 2048
_MEDIA_AT_ONCE = 64  # decoded pictures are some MB each
_QUANTILES = {"least": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "most": 1.0}

Lengths = dict[str, list[np.ndarray[Any, Any]]]


def check_shares(counted: Counted, split: Split, settings_file: str) -> None:
    """Raise BadData when a split that has a share, or that is given, got no row; a given validation may have none."""
    if split.given is not None:
        if missing := [name for name in ("train", "test") if not counted.rows[name]]:
            raise BadData(f"{settings_file}: data.split.given: no row of the column {split.given!r} says {missing[0]}.")
        return
    for name in SPLITS:
        share = getattr(split, name)
        if share > 0 and not counted.rows[name]:
            total = sum(counted.rows.values())
            groups = "" if split.group_by is None else f" in {len(counted.groups):,} groups"
            raise BadData(
                f"{settings_file}: data.split.{name} is {share:g}, and none of {total:,} different rows{groups} "
                f"falls into it. Bring more rows, raise its share{', set it to 0' if name == 'validation' else ''}, "
                "or try another data.split.seed."
            )


def encode(task: Task, prepared: Path, at: Place, total: int, *, size: int = _ROWS_AT_ONCE) -> Lengths:
    """Write the features of each split, `size` rows at a time. Returns, for every column of lists, how long each is."""
    lengths: Lengths = {}
    with Progress("preprocess", total=total, unit="rows") as progress:

        def parts(name: SplitName) -> Iterator[pa.Table]:
            for rows in Rows(prepared, name, size):
                table = _encoded(rows, task, at)
                _measure(table, lengths)
                yield table
                progress.advance(len(rows))

        first = next(iter(Rows(prepared, "train", size)))[:1]
        schema = _encoded(first, task, at).schema
        for name in SPLITS:
            write_features(prepared, name, schema, parts(name))
    return lengths


def statistics(counted: Counted, split: Split, *, lengths: Lengths) -> dict[str, Any]:
    """statistics.json: what the splits hold."""
    labels = {name: dict(sorted(counted.labels[name].items())) for name in SPLITS}
    stratify = {"column": split.stratify, "missing": absent_values(counted.values, split)}
    return {
        "read": counted.read,
        "duplicates_dropped": (
            counted.read - sum(counted.rows.values()) - sum(counted.left_out.values()) - counted.unsplit
        ),
        "left_out": counted.left_out,
        **({"of_no_split": counted.unsplit} if counted.unsplit else {}),
        **({"in_another_split": counted.crossed} if split.given is not None else {}),
        "rows": counted.rows,
        "labels": labels if any(labels.values()) else None,
        "lengths": {
            column: {name: float(np.quantile(np.concatenate(parts), at)) for name, at in _QUANTILES.items()}
            for column, parts in sorted(lengths.items())
        },
        "stratify": stratify if split.stratify is not None else None,
    }


def run(job: Job) -> None:
    """Make the training, validation and test data of a recipe."""
    examples, split = job.section("examples", Contract), job.section("split", Split)
    task = find_task(job.settings["task"])
    options = job.section("preprocess", task.Preprocess)
    settings_file = job.settings_file.relative_to(job.workspace.root).as_posix()
    require_whole(job.folder / "validated")
    if examples.media:
        require_whole(job.folder / "raw")
    clean = job.folder / "validated" / "examples.parquet"
    split = with_columns(split, pq.read_schema(clean).names, examples, settings_file)
    with replacing(job.folder / "prepared") as folder:
        at = place_of(job, seed=split.seed, folder=folder / ENCODER)
        with TemporaryDirectory(dir=folder, prefix=".ranges", ignore_cleanup_errors=True) as scratch:
            by_time = sides_of_table(clean, split, settings_file=settings_file)
            counted = write_distinct(clean, folder / ROWS, examples, split, Path(scratch), by_time)
        check_shares(counted, split, settings_file)
        at.folder.mkdir()
        task.prepare(Rows(folder, "train", BATCH_ROWS), options, at)
        size = _MEDIA_AT_ONCE if examples.media else _ROWS_AT_ONCE
        lengths = encode(task, folder, at, sum(counted.rows.values()), size=size)
        facts = statistics(counted, split, lengths=lengths)
        write_json(folder / STATISTICS, facts)
        write_manifest(folder, {"rows": facts["rows"], "duplicates_dropped": facts["duplicates_dropped"]})
    _tell(facts)
    if examples.label is None:  # else validate has said it
        for names in alike({label for labels in counted.labels.values() for label in labels}):
            print(alike_warning(names), file=sys.stderr, flush=True)


def _encoded(rows: pd.DataFrame, task: Task, at: Place) -> pa.Table:
    features = task.encode(rows, at)
    ids = pa.array(rows[ROW_ID], pa.string())
    if _OF in features.column_names:
        ids, features = ids.take(features[_OF]), features.drop_columns([_OF])
    return features.add_column(0, pa.field(ROW_ID, pa.string()), ids)


def _measure(table: pa.Table, lengths: dict[str, list[np.ndarray[Any, Any]]]) -> None:
    for field in table.schema:
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            found = pc.list_value_length(table[field.name]).combine_chunks()
            lengths.setdefault(field.name, []).append(found.to_numpy(zero_copy_only=False))


def _tell(facts: dict[str, Any]) -> None:
    sizes = ", ".join(f"{name} {count:,}" for name, count in facts["rows"].items())
    unsplit = f", of no split {count:,}" if (count := facts.get("of_no_split")) else ""
    print(f"{sizes}{unsplit}; {facts['duplicates_dropped']:,} duplicates dropped", file=sys.stderr, flush=True)
    if left_out := {reason: count for reason, count in facts["left_out"].items() if count}:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in left_out.items())
        print(f"left out by time: {reasons}", file=sys.stderr, flush=True)
    if crossed := sum(facts.get("in_another_split", {}).values()):
        print(f"{crossed:,} of them stand in the test or validation split too, and stayed there", file=sys.stderr)
    for name, values in (facts["stratify"] or {}).get("missing", {}).items():
        print(f"stratify: {some(values)} not in the {name} split", file=sys.stderr, flush=True)
