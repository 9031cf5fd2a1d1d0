"""POST /models/NAME/predict and GET /models: inputs -> answers of the champion, and which version gave them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, Field

from core.schema.columns import Column
from serving.http.api_keys import Caller
from serving.http.bodies import Body, Input, Route
from serving.http.door import may
from serving.http.problems import later, problems, refusals
from serving.http.threads import Workers
from serving.models.batching import Batcher
from serving.models.champions import Champion, Champions

MAX_INPUTS = 256  # a request: a batch that takes seconds on two cores, so that others get their turn


class Inputs(Body):
    inputs: Annotated[
        list[Input],
        Field(
            max_length=MAX_INPUTS,
            description="objects of the columns that the model takes, or mere texts where that is one; media in base64",
        ),
    ]


class Predicted(BaseModel):
    """answers: one an input, in their order, all of `version`."""

    model: str
    version: str
    answers: list[dict[str, Any]]


class Asked(BaseModel):
    """A column that a model takes. kind: text, category, number, time, media ...; media: what such a file holds."""

    name: str
    kind: str
    required: bool
    media: str | None


class Served(BaseModel):
    """since: when this version began to answer here, ISO 8601 in UTC. engine: torch or onnx."""

    name: str
    version: str
    since: str
    engine: str
    task: str
    inputs: list[Asked]


class Models(BaseModel):
    models: list[Served]


def predictions(champions: Champions, workers: Workers) -> APIRouter:
    router = APIRouter(tags=["models"], route_class=Route)
    batcher = Batcher(champions, workers)

    @router.get("/models", responses=problems())
    async def models(caller: Annotated[Caller, Depends(may("predict"))]) -> Models:
        """What is served: the accepted champion of each model."""
        return Models(models=[_served(name, each) for name, each in sorted(champions.serving.items())])

    @router.post("/models/{name}/predict", responses=problems(404, 413, 503, 504))
    async def predict(
        name: str, asked: Inputs, request: Request, caller: Annotated[Caller, Depends(may("predict"))]
    ) -> Predicted:
        """Ask a model's champion."""
        _require_served(name, champions)

        with refusals():
            answers = await batcher.ask(name, asked.inputs, len(await request.body()))
        return Predicted(model=name, version=answers.version.version, answers=answers.rows)

    return router


def _served(name: str, champion: Champion) -> Served:
    loaded = champion.loaded
    about, columns = loaded.answerer.about, loaded.answerer.contract.columns
    inputs = []
    for each in about.inputs:
        column = columns.get(each, Column("text"))
        media = about.media if column.kind == "media" else None
        inputs.append(Asked(name=each, kind=column.kind, required=column.filled, media=media))
    version = loaded.version.version
    return Served(
        name=name, version=version, since=champion.since, engine=loaded.engine, task=about.task, inputs=inputs
    )


def _require_served(name: str, champions: Champions) -> None:
    """Raise 404, or 503 for a model that should be served and cannot be."""
    if name in champions.serving:
        return
    wanted = name in champions.names or not champions.serving
    if why := champions.faults.get(name) or (champions.away if wanted else None):
        raise later(f"{name} cannot be served for now: {why}")
    served = ", ".join(sorted(champions.serving)) or "nothing"
    raise HTTPException(404, f"no model {name[:200]!r} is served here. Served: {served}.")
