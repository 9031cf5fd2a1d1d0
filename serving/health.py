"""GET /health: the process lives. GET /ready: every model and index that should answer does, and what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from serving.http.api_keys import ANYBODY
from serving.http.problems import problems
from serving.indexes.indexes import Indexes, Standing
from serving.models.champions import Champions


class Alive(BaseModel):
    alive: bool = True


class Answers(BaseModel):
    """Whether every model and index that should answer does."""

    ready: bool


class Ready(Answers):
    """models: name -> version; indexes: name -> release. faults: name -> why its newest does not answer; for a model
    the one before may.

    registry: why new champions are not seen, or why nothing is served; null when all is well.
    """

    models: Mapping[str, str]
    indexes: Mapping[str, str]
    faults: Mapping[str, str]
    registry: str | None


def health(champions: Champions, indexes: Indexes) -> APIRouter:
    """The routes for whoever watches over this process. Without a key they say nothing of what is inside."""
    router = APIRouter(tags=["health"])

    @router.get("/health")
    async def alive() -> Alive:
        """The process lives and answers."""
        return Alive()

    @router.get(
        "/ready", openapi_extra={"security": [{}, {"HTTPBearer": []}]},  # a key, or none
        responses={
            **problems(), 503: {"model": Ready | Answers, "description": "Something that should answer does not."}
        },
    )  # fmt: skip
    async def ready(request: Request, response: Response) -> Ready | Answers:
        """200 while every model and index has a version that answers, be it not the newest; 503 when one has none.
        With a key, or on a server of this machine that wants none: which, and what is wrong."""
        told = readiness(champions, await asyncio.to_thread(indexes.standing))
        response.status_code = 200 if told.ready else 503
        return Answers(ready=told.ready) if request.state.caller in (None, ANYBODY) else told

    return router


def readiness(champions: Champions, standing: Standing) -> Ready:
    serving, registry = champions.serving, champions.away
    if champions.lost:
        registry = "promotions are not followed any more: the log says why. Restart the server."
    elif not serving and not standing.live and registry is None:
        registry = (
            "no model has a champion that can be served, and no index is published. `headrace promote MODEL VERSION` "
            "makes a champion, `headrace index NAME` publishes."
        )
    missing = {*champions.names, *champions.faults} - serving.keys()
    return Ready(
        ready=bool(serving or standing.live) and not missing and not standing.faults and not champions.lost,
        models={name: each.loaded.version.version for name, each in serving.items()},
        indexes=standing.live,
        faults={**standing.faults, **champions.faults},
        registry=registry,
    )
