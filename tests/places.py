"""Where a task finds what it needs, and what it has trained, for tests that call one by hand."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from core.schema.model import Model
from core.tables.learner import TorchLearner
from core.tables.task import Base, Place, Task

NO_BASE = Base("none", None, None)


def a_place(
    folder: Path, *, base: Base = NO_BASE, media: Path | None = None, cache: Path | None = None, seed: int = 7
) -> Place:
    """folder: of what prepare() learns; media and cache: by default the same."""
    return Place(folder, media or folder, cache or folder, base, seed)


def a_learner(task: Task, model: Model, at: Place) -> TorchLearner:
    """What a task whose learner is a module hands over to be trained."""
    learner = task.learner(model, at)
    assert isinstance(learner, TorchLearner)
    return learner


def learnt(module: nn.Module) -> TorchLearner:
    """A module as a task's save() takes it."""
    return TorchLearner(module, lambda rows: {})
