"""preprocess: validated/ (+ media in raw/) -> prepared/. Drops duplicates, splits by content, encodes each split."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
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
from core.schema.columns import CONTENT_HASH, ROW_ID, Contract
from core.schema.data import SPLITS, Split, SplitName
from core.tables.prepared import ENCODER, ROWS, STATISTICS, write_features
from core.tables.split import check_columns, missing_values, sides
from core.tables.task import Task
from core.workspace import Job
from pipelines.bases import base_of
from pipelines.tasks import find_task

_TEXTS_AT_ONCE = 2048
_MEDIA_AT_ONCE = 64  # decoded pictures are some MB each
_FIRST = (ROW_ID, "split", "key")  # columns of rows.parquet
_QUANTILES = {"least": 0.0, "p50": 0.5, "p90": 0.9, "p99": 0.99, "most": 1.0}


def keyed(rows: pd.DataFrame, task: Task) -> pd.DataFrame:
    """The rows with a `key` column, one row a key (that of the lowest row_id), in the order of row_id."""
    content = rows[CONTENT_HASH if task.contract.media else task.contract.content]
    keys = [task.key(value) for value in content]
    ordered = rows.assign(key=keys).astype({"key": "str"}).sort_values(ROW_ID, kind="stable")
    return ordered.drop_duplicates("key", keep="first").reset_index(drop=True)


def split_rows(rows: pd.DataFrame, split: Split, settings_file: str) -> pd.DataFrame:
    """The rows with a `split` column. Raises BadData when a split that has a share gets no row."""
    rows = rows.assign(split=sides(rows, split))
    for name in SPLITS:
        share = getattr(split, name)
        if share > 0 and not (rows["split"] == name).any():
            groups = "" if split.group_by is None else f" in {rows[split.group_by].nunique():,} groups"
            raise BadData(
                f"{settings_file}: data.split.{name} is {share:g}, and none of {len(rows):,} different rows{groups} "
                f"falls into it. Bring more rows, raise its share{', set it to 0' if name == 'validation' else ''}, "
                "or try another data.split.seed."
            )
    return rows


def encode(
    rows: pd.DataFrame, task: Task, *, media: Path, prepared: Path, lengths: dict[str, list[np.ndarray[Any, Any]]]
) -> None:
    """Write the features of each split; lengths gains, for every column of lists, how long each list is."""
    encoder = prepared / ENCODER
    with Progress("preprocess", total=len(rows), unit="rows") as progress:

        def parts(name: SplitName) -> Iterator[pa.Table]:
            at_once = _MEDIA_AT_ONCE if task.contract.media else _TEXTS_AT_ONCE
            some = rows[rows["split"] == name].reset_index(drop=True)
            for start in range(0, len(some), at_once):
                table = _encoded(some[start : start + at_once].reset_index(drop=True), task, media, encoder)
                _measure(table, lengths)
                yield table
                progress.advance(len(table))

        first = rows[rows["split"] == "train"][:1].reset_index(drop=True)
        schema = _encoded(first, task, media, encoder).schema
        for name in SPLITS:
            write_features(prepared, name, schema, parts(name))


def statistics(rows: pd.DataFrame, *, read: int, label: str | None, split: Split, lengths: Any) -> dict[str, Any]:
    """statistics.json: what the splits hold."""
    counts = rows["split"].value_counts()
    absent = missing_values(rows, split)
    return {
        "read": read,
        "duplicates_dropped": read - len(rows),
        "rows": {name: int(counts.get(name, 0)) for name in SPLITS},
        "labels": label and {name: _counted(rows.loc[rows["split"] == name, label]) for name in SPLITS},
        "lengths": {
            column: {name: float(np.quantile(np.concatenate(parts), at)) for name, at in _QUANTILES.items()}
            for column, parts in sorted(lengths.items())
        },
        "stratify": {"column": split.stratify, "missing": absent} if split.stratify is not None else None,
    }


def run(job: Job) -> None:
    """Make the training, validation and test data of a recipe."""
    examples, split = job.section("examples", Contract), job.section("split", Split)
    task, base = find_task(job.settings["task"]), base_of(job)
    options = job.section("preprocess", task.Preprocess)
    settings_file = job.settings_file.relative_to(job.workspace.root).as_posix()
    media = job.folder / "raw"
    require_whole(job.folder / "validated")
    if examples.media:
        require_whole(media)
    clean = pq.read_table(job.folder / "validated" / "examples.parquet").to_pandas()
    check_columns(split, clean.columns, settings_file)
    rows = split_rows(keyed(clean, task), split, settings_file)
    with replacing(job.folder / "prepared") as folder:
        (folder / ENCODER).mkdir()
        train = rows[rows["split"] == "train"].reset_index(drop=True)
        task.prepare(train, media=media, options=options, base=base, folder=folder / ENCODER)
        lengths: dict[str, list[np.ndarray[Any, Any]]] = {}
        encode(rows, task, media=media, prepared=folder, lengths=lengths)
        ordered = rows[[*_FIRST, *(name for name in rows.columns if name not in _FIRST)]]
        table = pa.Table.from_pandas(ordered, preserve_index=False).replace_schema_metadata(None)
        pq.write_table(table, folder / ROWS)
        facts = statistics(rows, read=len(clean), label=examples.label, split=split, lengths=lengths)
        write_json(folder / STATISTICS, facts)
        write_manifest(folder, {"rows": facts["rows"], "duplicates_dropped": facts["duplicates_dropped"]})
    _tell(facts)


def _encoded(rows: pd.DataFrame, task: Task, media: Path, encoder: Path) -> pa.Table:
    features = task.encode(rows, media=media, folder=encoder)
    return features.add_column(0, pa.field(ROW_ID, pa.string()), pa.array(rows[ROW_ID], pa.string()))


def _measure(table: pa.Table, lengths: dict[str, list[np.ndarray[Any, Any]]]) -> None:
    for field in table.schema:
        if pa.types.is_list(field.type) or pa.types.is_large_list(field.type):
            found = pc.list_value_length(table[field.name]).combine_chunks()
            lengths.setdefault(field.name, []).append(found.to_numpy(zero_copy_only=False))


def _counted(values: pd.Series[str]) -> dict[str, int]:
    return {str(value): int(count) for value, count in sorted(values.value_counts().items())}


def _tell(facts: dict[str, Any]) -> None:
    sizes = ", ".join(f"{name} {count:,}" for name, count in facts["rows"].items())
    print(f"{sizes}; {facts['duplicates_dropped']:,} duplicates dropped", file=sys.stderr, flush=True)
    for name, values in (facts["stratify"] or {}).get("missing", {}).items():
        print(f"stratify: {', '.join(values)} not in the {name} split", file=sys.stderr, flush=True)
