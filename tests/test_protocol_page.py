"""The task on docs/protocol.md is one: it learns, is saved and loaded, is measured and beats its baseline."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa

from core.schema.model import Model
from core.schema.section import Section
from core.tables.learner import TorchLearner
from core.tables.statistics import whole
from core.tables.task import Task
from tests.conftest import ROOT
from tests.places import a_place


def test_the_page_is_a_task(tmp_path: Path) -> None:
    page = (ROOT / "docs/protocol.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    module = ModuleType("line_fit")
    exec(compile(code, "docs/protocol.md", "exec"), module.__dict__)
    task: Task = module.TASK
    rows = pd.DataFrame({"x": np.arange(20.0)}).assign(y=lambda frame: 3 * frame["x"] + 1, row_id="r")
    at = a_place(tmp_path)
    task.prepare([rows[:8], rows[8:]], Section(), at)
    learner = task.learner(Model(base="none"), at)
    assert not isinstance(learner, TorchLearner)
    learner.fit(task.encode(rows, at), pa.table({}))
    task.save(learner, at, into=tmp_path)
    units = task.units(rows, at.folder)
    models = {"model": task.load(tmp_path).predict(units), **task.baselines(rows, units, at)}
    scores = {
        name: whole(task.score, task.measure({**said, **task.truth(units, at)}))[task.primary]
        for name, said in models.items()
    }
    assert scores["model"] < 1e-20
    assert scores["mean"] > 100
    named = {name for name in vars(Task) if not name.startswith("_")} | set(Task.__annotations__)
    assert not [name for name in named if not hasattr(task, name)], "the page leaves nothing out"
