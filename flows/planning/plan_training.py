"""`headrace plan`: a recipe, or a source that has none yet -> what its training needs, and what would suit the data."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from core.atomic_files import read_json, write_json, write_text
from core.errors import BadRequest, HeadraceError
from core.schema.data import Data
from core.workspace import Job, Workspace
from flows.graph.dvc import own_code_last
from flows.starting.choose import Choice, Wishes, choose
from flows.starting.look import Seen, look
from flows.starting.settings_text import settings_text
from flows.starting.start import as_written
from flows.starting.suggest import Suggested, suggest
from pipelines.planning.borrowed import borrowed
from pipelines.recipes.read import read_recipe
from pipelines.tasks import find_task

_NEW = "planned"  # what a recipe is called that is not written yet


@dataclass(frozen=True)
class Planned:
    """found: as pipelines/planning/measure.py has it; None where nothing would be trained.

    seen, choice: of a source without a recipe.
    """

    name: str
    found: Mapping[str, Any] | None
    suggested: Suggested | None
    seen: Seen | None = None
    choice: Choice | None = None


def plan(job: Job) -> Planned:
    """What a recipe's training needs. Raises BadSettings, BadRequest, BadData, Outage as its stages would."""
    task = read_recipe(job.settings_file).task
    with TemporaryDirectory(prefix="headrace-plan-", ignore_cleanup_errors=True) as place:
        found = measure(job, job.settings_file, Path(place), find_task(task).methods)
    return Planned(job.name, found, _suggested(task, sum(found["rows"].values())))


def plan_source(workspace: Workspace, source: str, wishes: Wishes) -> Planned:
    """What `headrace new --source` would make of somebody's data, and what its training would need."""
    with TemporaryDirectory(prefix="headrace-plan-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        downloads = borrowed(workspace.var / "downloads", place / "downloads")
        seen = look(workspace, Data(source=as_written(workspace, source)), downloads=downloads)
        choice = choose(seen, wishes)
        if choice.task is None:
            return Planned(source, None, None, seen, choice)
        file = place / "chosen" / f"{_NEW}.yaml"
        file.parent.mkdir()
        write_text(file, settings_text(_NEW, choice, command="headrace plan"))
        job = workspace.job("recipe", _NEW)
        found = measure(job, file, place, find_task(choice.task).methods)
    return Planned(source, found, Suggested(choice.model, choice.why, choice.source), seen, choice)


def _suggested(task: str, rows: int) -> Suggested | None:
    try:
        return suggest(task, rows)
    except BadRequest:
        return None  # nothing suits by the number of rows alone


def measure(job: Job, file: Path, place: Path, methods: Sequence[str]) -> Mapping[str, Any]:
    """What the trainings of a recipe's methods need, as measured by a process of its own; raises the fault it tells of.

    file: the recipe. place: an empty folder for all that is made on the way.
    """
    write_json(place / "asked.json", {"name": job.name, "file": str(file), "methods": list(methods)})
    env = {**os.environ, "PYTHONPATH": own_code_last(os.environ)}
    command = [sys.executable, "-P", "-m", "pipelines.planning.measure", str(place)]
    subprocess.run(command, cwd=job.workspace.root, env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)
    if not (place / "answer.json").exists():
        raise HeadraceError("the process that tries the training ended without an answer; what it said stands above.")
    answer: dict[str, Any] = read_json(place / "answer.json")
    if "fault" in answer:
        fault = HeadraceError(answer["fault"])
        fault.exit_code = answer["exit_code"]
        raise fault
    return answer
