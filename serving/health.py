"""GET /health: the process lives. GET /ready: every model that should answer does, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Response
from pydantic import BaseModel

from serving.champions import Champions


class Alive(BaseModel):
    alive: bool = True


class Ready(BaseModel):
    """models: name -> version. faults: name -> why its newest champion does not answer; the one before may.

    registry: why new champions are not seen; null when they are.
    """

    ready: bool
    models: Mapping[str, str]
    faults: Mapping[str, str]
    registry: str | None


def health(champions: Champions) -> APIRouter:
    """The routes for whoever watches over this process."""
    router = APIRouter(tags=["health"])

    @router.get("/health")
    async def alive() -> Alive:
        """The process lives and answers."""
        return Alive()

    @router.get("/ready", responses={503: {"model": Ready}})
    async def ready(response: Response) -> Ready:
        """200 while every model has a version that answers, be it not the newest; 503 when one has none."""
        told = readiness(champions)
        response.status_code = 200 if told.ready else 503
        return told

    return router


def readiness(champions: Champions) -> Ready:
    """What /ready says."""
    serving, faults, registry = champions.serving, champions.faults, champions.away
    if champions.lost:
        registry = "promotions are not followed any more: the log says why. Restart the server."
    elif not serving and registry is None:
        registry = "no model has a champion that can be served. `headrace promote MODEL VERSION` makes one."
    missing = {*champions.names, *faults} - serving.keys()
    return Ready(
        ready=bool(serving) and not missing and not champions.lost,
        models={name: each.loaded.version.version for name, each in serving.items()},
        faults=faults,
        registry=registry,
    )
