"""The HTTP application: routers, limits, and one clear message for whatever is refused. No traceback leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse

from serving.health import health
from serving.http.api_keys import Keys
from serving.http.bodies import BodyLimit
from serving.http.door import Door
from serving.http.threads import Workers
from serving.indexes.answering import answering
from serving.indexes.change_documents import documents
from serving.indexes.indexes import Indexes
from serving.indexes.list_documents import listing
from serving.indexes.request_metrics import Measured, Metrics, exposition
from serving.indexes.searching import searching
from serving.indexes.update_runs import Updates
from serving.indexes.updating import updating
from serving.models.champions import Champions
from serving.models.predicting import predictions
from serving.page import page

_FORMS = {
    "/predict": 'Send {"inputs": ["...", ...]} as application/json.',
    "/search": 'Send {"question": "..."} as application/json.',
    "/answer": 'Send {"question": "..."} as application/json.',
}
_ELSE = "GET /openapi.json says what is asked how."
_SHOWN = 3  # mistakes a message
_LONGEST_PLACE = 80  # characters: a place may be a key of the caller's


def make_app(
    champions: Champions, indexes: Indexes, updates: Updates, workers: Workers, keys: Keys,
    hosts: frozenset[str] = frozenset(),
) -> FastAPI:  # fmt: skip
    """Everything that `headrace serve` answers. hosts: names of this machine that a request may be meant for."""
    # FastAPI's own page of the API loads scripts from elsewhere; serving/page has the same page whole.
    app = FastAPI(title="Headrace", docs_url=None, redoc_url=None)
    metrics = Metrics(indexes)
    for router in (
        page(),
        searching(indexes, workers, metrics),
        answering(indexes, workers, metrics),
        listing(indexes, workers),
        documents(indexes, workers),
        updating(indexes, updates, workers),
        predictions(champions, workers),
        health(champions, indexes),
        exposition(metrics, workers),
    ):
        app.include_router(router)
    door = {"keys": keys, "hosts": hosts}
    for middleware, options in ((BodyLimit, {}), (Door, door), (Measured, {"metrics": metrics})):
        app.add_middleware(middleware, **options)  # each around those before
    app.add_exception_handler(RequestValidationError, _mistake)
    app.add_exception_handler(400, _unreadable)
    app.add_exception_handler(Exception, _failure)
    return app


async def _mistake(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": f"{_in_words(error.errors())} {_form(request)}"}, 422)


async def _unreadable(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's 400 is of what is no JSON either: not UTF-8, brackets a thousand deep, or hardly anything else."""
    return JSONResponse({"detail": f"the body is not JSON that can be read. {_form(request)}"}, 422)


async def _failure(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "the server failed at this request; its log says why."}, 500)


def _form(request: Request) -> str:
    return next((form for end, form in _FORMS.items() if request.url.path.endswith(end)), _ELSE)


def _in_words(mistakes: Sequence[Any]) -> str:
    more = len(mistakes) - _SHOWN
    return " ".join([*map(_mistake_in_words, mistakes[:_SHOWN]), *([f"And {more} more."] if more > 0 else [])])


def _mistake_in_words(mistake: Any) -> str:
    why = mistake.get("ctx", {}).get("error") or mistake["msg"]
    if mistake["type"] == "json_invalid":
        at = f" at character {mistake['loc'][1] + 1}" if mistake["loc"][1:] else ""  # pydantic's own words say it
        return f"the body is not JSON: {why}{at}."
    return f"{_place(mistake['loc'])}: {why}."


def _place(location: Sequence[Any]) -> str:
    """inputs.3 of ("body", "inputs", 3), in characters that any encoding has."""
    inside = ".".join(str(part) for part in location[1:])[:_LONGEST_PLACE]
    return inside.encode("ascii", "backslashreplace").decode() or "the body"
