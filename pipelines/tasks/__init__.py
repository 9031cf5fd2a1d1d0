"""What can be learned: a folder a modality, a file a family, found by listing; parts/ is what several of them share.

Importing a task is cheap: torch and the like are imported inside its methods, so reading a recipe starts nothing heavy.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from core.errors import BadRequest, near
from core.tables.task import Task

TASKS = Path(__file__).parent
_SHARED = "parts"


def task_files(folder: Path = TASKS) -> dict[str, Path]:
    """Each task's name and its file, in this checkout or in the tasks' folder of another."""
    files = folder.glob("*/*.py")
    return {path.stem: path for path in files if path.parent.name != _SHARED and path.stem[0] != "_"}


def find_task(name: str) -> Task:
    """The task of that name. Raises BadRequest when there is none, naming the nearest."""
    files = task_files()
    if name not in files:
        allowed = ", ".join(sorted(files))
        raise BadRequest(f"no task {name!r}. {near(name, files)}Allowed: {allowed} (the files of pipelines/tasks/).")
    return cast(Task, importlib.import_module(f"pipelines.tasks.{files[name].parent.name}.{name}").TASK)
