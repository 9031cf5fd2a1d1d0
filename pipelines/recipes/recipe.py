"""A recipe, the settings of one model, and an index, those of one searchable collection, composed of their sections."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from core.schema.data import Data, RecipeData
from core.schema.evaluation import Evaluation, Gate, Registry
from core.schema.expectations import DataContract, IndexContract
from core.schema.model import Compute, Model, Training
from core.schema.schedule import Schedule
from core.schema.search import Access, Answer, Chunk, Embed, Judging, Search
from core.schema.section import Section
from core.workspace import Kind


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


class Index(Section):
    title: str = ""
    documents: Data
    access: Access = Access()
    contract: IndexContract = IndexContract()
    chunk: Chunk = Chunk()
    embed: Embed
    search: Search = Search()
    evaluation: Judging = Judging()
    gates: dict[str, Gate] = {}
    answer: Answer = Answer()
    compute: Compute = Compute()
    schedule: Schedule | None = None


def json_schema(kind: Kind) -> dict[str, Any]:
    """What editors complete and check by (docs/*.schema.json). A task checks its own `preprocess:`."""
    model = Recipe if kind == "recipe" else Index
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
