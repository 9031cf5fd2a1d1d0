"""What a recipe may say of a network over graphs, checked without the networks' library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from core.errors import BadRequest, near
from core.schema.model import Model
from core.schema.section import Section
from core.tables.task import Base

NETWORKS = ("gcn", "gat", "graphsage", "gin")


class Settings(Section):
    hidden_size: Annotated[int, Field(ge=1, le=8192, description="numbers of a node after each layer")] = 64
    num_layers: Annotated[int, Field(ge=1, le=16, description="how many links away a node hears")] = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5


class Attention(Settings):
    heads: Annotated[int, Field(ge=1, le=64, description="of attention, which share hidden_size")] = 8


def settings_of(model: Model, base: Base) -> Settings:
    """Raises BadRequest for settings that the network has not."""
    assert base.architecture is not None
    settings = base.architecture.settings_as(Attention if base.starts("gat") else Settings)
    if isinstance(settings, Attention) and settings.hidden_size % settings.heads:
        raise BadRequest(f"model.base.settings: hidden_size must be a multiple of heads ({settings.heads}).")
    return settings if model.dropout is None else settings.model_copy(update={"dropout": model.dropout})


def check(model: Model, base: Base, simple: Sequence[str]) -> None:
    """Raise BadRequest for what is none of the networks or simple models, and for settings that it has not."""
    names = (*NETWORKS, *simple)
    told = base.architecture
    if told is None or told.architecture not in names:
        name = str(base.reference) if told is None else told.architecture
        raise BadRequest(
            f"model.base: {name!r} is no architecture for graphs. {near(name, names)}Allowed: {', '.join(names)}."
        )
    if told.architecture in simple:
        base.refuse_settings()
    else:
        settings_of(model, base)
