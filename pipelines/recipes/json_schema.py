"""The JSON Schema of recipes and indexes, for editors that complete and check as one types (docs/*.schema.json)."""

from __future__ import annotations

from typing import Any

from core.workspace import Kind
from pipelines.recipes.index import Index
from pipelines.recipes.recipe import Recipe

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(kind: Kind) -> dict[str, Any]:
    """What a recipe or an index may say. Options of a task's own `preprocess:` are the task's to check."""
    model = Recipe if kind == "recipe" else Index
    return {"$schema": _DIALECT, **model.model_json_schema()}
