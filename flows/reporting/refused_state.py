"""How a refused gate looks on Prefect's page. Imports Prefect."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Failed


def refusal(why: str) -> State[Any]:
    """Red, and for automations nothing that completed, though every stage ran; its name tells it from a failure."""
    return Failed(name="Refused", message=why)
