"""What can be learned: one file is one family, found by listing the folder.

A file whose name starts with an underscore holds what several families share. Importing a task is cheap: torch and the
like are imported inside its methods, so that reading a recipe starts nothing heavy.
"""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import cast

from core.errors import BadRequest
from core.tables.task import Task

TASKS = Path(__file__).parent


def task_names() -> list[str]:
    return sorted(path.stem for path in TASKS.glob("*.py") if not path.stem.startswith("_"))


def find_task(name: str) -> Task:
    """The task of that name. Raises BadRequest when there is none, naming the nearest."""
    names = task_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise BadRequest(f"no task {name!r}.{hint} Allowed: {', '.join(names)} (the files of pipelines/tasks/).")
    return cast(Task, importlib.import_module(f"pipelines.tasks.{name}").TASK)
