"""What a scheduler and its runs agree on: names, where a run works, a recipe's schedule. Nothing of Prefect."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from core.workspace import Job, Workspace
from pipelines.recipes.read import read_index, read_recipe

if TYPE_CHECKING:
    from core.schema.schedule import Schedule

FLOW = "headrace-scheduled"
AUTOMATION = "headrace: end runs whose process died"
WORKSPACE = "HEADRACE_WORKSPACE"  # where a run works: a run's parameters may come from whoever reaches the server


def schedule_of(job: Job) -> Schedule | None:
    """When a recipe or index runs by itself, if it does."""
    settings = read_recipe(job.settings_file) if job.kind == "recipe" else read_index(job.settings_file)
    return settings.schedule


def tag_of(workspace: Workspace) -> str:
    """A tag of the runs of a workspace: several may have one server of the user's."""
    return f"workspace:{hashlib.sha256(str(workspace.root).encode()).hexdigest()[:12]}"
