"""Test rows that a recipe's last evaluated model answered wrong, the surest mistakes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from core.errors import BadRequest
from core.manifest import require_whole
from core.schema.columns import PLACE, ROW_ID, Contract
from core.tables.predictions import axis_names, read_answers, read_predictions
from core.tables.prepared import ENCODER, read_rows, rows_named
from core.tables.task import ByRow, Task
from core.workspace import Job
from pipelines.shown.shown_rows import making
from pipelines.tasks import find_task


@dataclass(frozen=True)
class WrongAnswer:
    """A test row. cells: what the row says. said, true: None where words have no room for it, as for a forecast.

    answer: as a served model gives it. sure: 0 to 1; None of a model that does not say.
    """

    row_id: str
    place: str | None
    cells: Mapping[str, Any]
    true: str | None
    said: str | None
    sure: float | None
    error: float
    answer: Mapping[str, Any]


@dataclass(frozen=True)
class Wrong:
    """The first of `count` wrong answers to `total` test rows. error_name: what an error counts.

    targets: the columns that are told as what is true.
    """

    rows: Sequence[WrongAnswer]
    count: int
    total: int
    error_name: str
    targets: Sequence[str]


def answered_wrong(job: Job, most: int) -> Wrong:
    """The largest errors first, and of equal ones those of which the model is surest.

    Raises BadRequest before there is an evaluation, with the command that makes one.
    """
    if job.kind == "index":
        raise BadRequest(
            f"{job.name} is an index, which answers no test rows. `headrace query {job.name} ...` asks it."
        )
    folder = job.folder / "evaluation"
    if not (folder / "manifest.json").is_file():
        raise BadRequest(
            f"no model of {job.name} was evaluated yet. `headrace {making(job)}` trains and evaluates one."
        )
    require_whole(folder)
    task, file = find_task(job.settings["task"]), folder / "predictions.parquet"
    if not isinstance(task, ByRow):
        raise BadRequest(f"the task {job.settings['task']} does not say of single answers whether they are wrong.")
    answered = read_predictions(file)
    told = task.by_row({**answered.model, **answered.truth}, axis_names(file))
    sure = np.zeros(len(told.error)) if told.sure is None else told.sure
    order = np.lexsort((-sure, -told.error))
    chosen = order[told.error[order] > 0][:most].tolist()
    cells = _cells(task, job, [answered.row_ids[at] for at in chosen])
    answers = read_answers(file, max(chosen, default=-1) + 1).drop(columns=ROW_ID).to_dict("records")
    rows = []
    for at in chosen:
        row = dict(cells.get(answered.row_ids[at], {}))
        place = row.pop(PLACE, None)
        rows.append(
            WrongAnswer(
                answered.row_ids[at], place, row,
                None if told.true is None else told.true[at], None if told.said is None else told.said[at],
                None if told.sure is None else float(told.sure[at]), float(told.error[at]), answers[at],
            )
        )  # fmt: skip
    targets = job.section("examples", Contract).targets if told.true is not None else ()
    return Wrong(rows, int((told.error > 0).sum()), len(told.error), told.error_name, targets)


def _cells(task: Task, job: Job, row_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What rows, or windows of a series, say: by id."""
    prepared, columns = job.folder / "prepared", [*job.section("examples", Contract).columns, PLACE]
    found = rows_named(prepared, row_ids, columns)
    if len(found) < len(row_ids):  # what is evaluated are no rows
        units = task.units(read_rows(prepared, "test"), prepared / ENCODER)
        found = pa.Table.from_pandas(units[units[ROW_ID].isin(row_ids)], preserve_index=False).to_pylist()
    return {str(row.pop(ROW_ID)): row for row in found}
