"""A recipe: the settings of one model, composed of its sections."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from core.schema.data import RecipeData
from core.schema.evaluation import Evaluation, Gate, Registry
from core.schema.expectations import DataContract
from core.schema.model import Compute, Model, Training
from core.schema.schedule import Schedule
from core.schema.section import Section


class Recipe(Section):
    """Only `task`, `data` and `model` are required; the task states the other defaults."""

    title: str = ""
    task: Annotated[str, Field(description="a file in pipelines/tasks/")]
    data: RecipeData
    contract: DataContract = DataContract()
    preprocess: Annotated[dict[str, Any], Field(description="options of the task")] = {}
    model: Model
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    gates: dict[str, Gate] = {}
    registry: Registry = Registry()
    compute: Compute = Compute()
    schedule: Schedule | None = None
