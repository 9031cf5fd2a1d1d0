"""Two registered versions side by side, from what was kept with each: what they answered, and how they were made."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.atomic_files import read_json
from core.errors import BadRequest
from core.schema.columns import PLACE, ROW_ID
from core.tables.predictions import axis_names, read_predictions
from core.tables.prepared import rows_named
from core.tables.task import ByRow, Task
from core.workspace import Workspace
from pipelines.evidence.changes import Changes, Made, changes
from pipelines.evidence.comparison import Common, common_rows
from pipelines.evidence.differences import Apart, apart
from pipelines.evidence.evidence import asked_again
from pipelines.tasks import find_task
from registry.promotion.gate import NoRival
from registry.store.versions import PREDICTIONS, PROFILE, RECIPE, Version
from registry.version import evidence_files
from registry.version.evidence_files import CODE, SETTINGS, Kept


@dataclass(frozen=True)
class Compared:
    """first, second: the versions. cells: of the rows that are shown, by id, what the recipe's rows of today
    say, and their place. targets: those of their columns that are told as what is true.

    asked_again: the version that was asked about the other's test rows, where it was. relabelled: common rows about
    which something else was true when the first version was judged; what the second's evidence says counts.
    """

    first: Version
    second: Version
    task: str
    apart: Apart
    changes: Changes
    cells: dict[str, dict[str, Any]]
    targets: Sequence[str]
    asked_again: str | None
    relabelled: int


def compare(workspace: Workspace, first: Version, second: Version, *, most: int) -> Compared:
    """Raises BadRequest where the two cannot be compared: one version, other tasks, no common row, nothing kept."""
    if (first.name, first.version) == (second.name, second.version):
        raise BadRequest(f"both are {first.called}. Name two versions, as in `headrace compare {first.name}/1 ...`.")
    kept = [evidence_files.read(version, workspace.var) for version in (first, second)]
    one, two = (_told(each) for each in kept)
    tasks = [str(told.get("origin", {}).get("task")) for told in (one, two)]
    if tasks[0] != tasks[1]:
        raise BadRequest(
            f"{first.called} is of the task {tasks[0]}, {second.called} of {tasks[1]}: nothing to compare."
        )
    task = find_task(tasks[0])
    files, again = _answers(kept[0], kept[1], workspace.var)
    common = common_rows(*files, first.called)
    if isinstance(common, NoRival):
        raise BadRequest(f"{first.called} and {second.called} cannot be compared: {common.why}.")
    if not common.row_ids:
        raise BadRequest(
            f"{first.called} was judged on {common.asked[0]:,} test rows, {second.called} on {common.asked[1]:,}, and "
            "none of them is the same: nothing to compare. Train both on one source and one `data.split`."
        )
    found = apart(task, common, primary=two["primary"], most=most)
    if all(metric.name != found.primary for metric in found.metrics):
        why = f"{found.primary} is no number on their {found.rows:,} common rows: they were asked about others"
        raise BadRequest(f"{first.called} and {second.called} cannot be compared: {why}.")
    made = [_made(each) for each in kept]
    shown = found.rows_apart.shown if found.rows_apart else []
    examples = made[1].settings.get("examples", {})
    return Compared(
        first,
        second,
        tasks[0],
        found,
        changes(made[0], made[1]),
        cells=_cells(workspace, second, examples.get("columns", {}), [row.row_id for row in shown]),
        targets=examples.get("targets", ()) if any(row.true is not None for row in shown) else (),
        asked_again=again,
        relabelled=_relabelled(task, files, common),
    )


def _told(kept: Kept) -> dict[str, Any]:
    if kept.told is None:
        raise BadRequest(
            f"{kept.version.called} has no evidence: an earlier Headrace registered it. Register it again."
        )
    return dict(kept.told)


def _answers(first: Kept, second: Kept, var: Path) -> tuple[tuple[Path, Path], str | None]:
    """Each version's predictions; one that was champion when the other came was asked about the other's own rows."""
    if (file := asked_again(second.version, second.told or {}, first.version, var)) is not None:
        return (file, _predictions(second)), first.version.called
    if (file := asked_again(first.version, first.told or {}, second.version, var)) is not None:
        return (_predictions(first), file), second.version.called
    return (_predictions(first), _predictions(second)), None


def _predictions(kept: Kept) -> Path:
    file = kept.file(PREDICTIONS)
    if file is None:
        raise BadRequest(f"{kept.version.called} has no {PREDICTIONS} with it. Register it again.")
    return file


def _relabelled(task: Task, files: tuple[Path, Path], common: Common) -> int:
    """Common rows about which the two versions' evidence does not say the same truth, as far as it has words."""
    if not isinstance(task, ByRow):
        return 0
    told = []
    for file in files:
        answered = read_predictions(file)
        words = task.by_row({**answered.model, **answered.truth}, axis_names(file)).true
        if words is None:
            return 0
        told.append(dict(zip(answered.row_ids, words, strict=True)))
    return sum(told[0][row_id] != told[1][row_id] for row_id in common.row_ids)


def _made(kept: Kept) -> Made:
    files = {name: kept.file(name) for name in (SETTINGS, PROFILE, CODE)}
    settings, profile, code = (read_json(file) if file is not None else {} for file in files.values())
    return Made(kept.told or {}, settings, profile.get("rows"), code)


def _cells(
    workspace: Workspace, version: Version, columns: Collection[str], row_ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Place and some columns of the rows that stand in the recipe's prepared rows today, by id."""
    recipe = version.tags.get(RECIPE)
    if recipe is None or not row_ids:
        return {}
    found = rows_named(workspace.job("recipe", recipe).folder / "prepared", row_ids, [PLACE, *columns])
    return {str(row.pop(ROW_ID)): row for row in found}
