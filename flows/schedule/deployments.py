"""What a scheduler and its runs agree on: the flow's name, where a run works, a recipe's schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.workspace import Job
from pipelines.recipes.read import read_index, read_recipe

if TYPE_CHECKING:
    from core.schema.schedule import Schedule

FLOW = "headrace-scheduled"  # flows/schedule/scheduled_flow.py
WORKSPACE = "HEADRACE_WORKSPACE"  # where a run works: a run's parameters may come from whoever reaches the server


def schedule_of(job: Job) -> Schedule | None:
    """When a recipe or index runs by itself, if it does."""
    settings = read_recipe(job.settings_file) if job.kind == "recipe" else read_index(job.settings_file)
    return settings.schedule
