"""Where a task finds what it needs for one recipe."""

from __future__ import annotations

from pathlib import Path

from core.tables.prepared import ENCODER
from core.tables.task import Place
from core.workspace import Job
from pipelines.bases import base_of


def place_of(job: Job, *, seed: int, folder: Path | None = None) -> Place:
    """folder: what prepare() learnt, where it is not that of the recipe's prepared/."""
    return Place(
        folder=folder or job.folder / "prepared" / ENCODER,
        media=job.folder / "raw",
        cache=job.workspace.var / "features",
        base=base_of(job),
        seed=seed,
    )
