"""A workspace with a table of numbers, categories and dates, for the families that learn from one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.schema.model import Architecture, Model
from core.tables.learner import TorchLearner
from core.tables.task import Base, Predictions, Task
from core.workspace import Job
from core.workspace import Workspace as Root
from pipelines.collect import collect
from pipelines.preprocess import preprocess
from pipelines.settings import settings
from pipelines.validate import validate
from tests.conftest import Workspace, copy_code
from tests.places import a_place

Row = dict[str, Any]
OPTIONS = {"numbers": ["size", "width"], "categories": ["color"], "dates": ["day"]}
_STAGES = {"settings": settings, "collect": collect, "validate": validate, "preprocess": preprocess}


def table_rows(count: int = 240, seed: int = 3) -> list[Row]:
    """A label and an amount that a number and a category say together; some cells are empty."""
    random, rows = np.random.default_rng(seed), list[Row]()
    for at in range(count):
        size, color = round(float(random.normal()), 3), ("red", "green", "blue")[int(random.integers(3))]
        amount = 2 * size + (3.0 if color == "red" else 0.0) + 0.1 * float(random.normal())
        rows.append(
            {
                "size": size if at % 29 else "", "color": color if at % 31 else "",
                "width": round(float(random.normal()), 1), "day": f"2024-02-{1 + at % 28:02}T{at % 24:02}:00",
                "label": "large" if amount > 1 else "small", "amount": round(amount, 3),
            }
        )  # fmt: skip
    return rows


def small_workspace(root: Path) -> Workspace:
    root.mkdir()
    copy_code(root)
    return Workspace(root, {})


def through(workspace: Workspace, recipe: str, rows: Sequence[Row], *, to: str) -> Job:
    """A recipe over these rows, through the stages up to `to`, in this process, whose folder is the workspace."""
    workspace.write("recipes/small.yaml", recipe)
    workspace.write("recipes/small.lock", "source: {kind: path}\nbases: {}\nreference: null\n")
    workspace.live(recipes={"small": {"task": recipe.split()[1], "watch": "recipes/small.yaml"}})
    workspace.write_rows(rows)
    for name, stage in _STAGES.items():
        stage.run(Root(workspace.root).job("recipe", "small"))
        if name == to:
            break
    return Root(workspace.root).job("recipe", "small")


def base_of(name: str, **settings: Any) -> Base:
    return Base(Architecture(architecture=name, settings=settings), None, None)


def fitted(task: Task, base: Base, train: pd.DataFrame, options: Row, folder: Path) -> Any:
    """A predictor of what an estimator learnt of some rows, saved into folder/model and loaded."""
    encoder, model = folder / "encoder", folder / "model"
    encoder.mkdir(parents=True)
    model.mkdir()
    at = a_place(encoder, base=base)
    task.prepare([train[:100], train[100:]], task.Preprocess.model_validate(options), at)
    learner = task.learner(Model(base=base.reference, method="pretrain"), at)
    assert not isinstance(learner, TorchLearner)
    table = task.encode(train, at)
    learner.fit(table, table[:0])
    task.save(learner, at, into=model)
    return task.load(model)


def folds(count: int, rows: int, seed: int = 0) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Positions of the rows to learn from, and of those to be asked about."""
    order = np.random.default_rng(seed).permutation(rows)
    return [(np.setdiff1d(order, part), part) for part in np.array_split(order, count)]


def said_by_folds(
    task: Task, base: Base, rows: pd.DataFrame, options: Row, folder: Path, count: int
) -> list[tuple[Predictions, pd.DataFrame]]:
    """What a model says of each fold that it has not learnt from, and the fold."""
    return [
        (fitted(task, base, rows.iloc[train], options, folder / str(at)).predict(rows.iloc[test]), rows.iloc[test])
        for at, (train, test) in enumerate(folds(count, len(rows)))
    ]
