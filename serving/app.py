"""The HTTP application: routers, limits, and one clear message for whatever is refused. No traceback leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse

from serving.bodies import BodyLimit
from serving.champions import Champions
from serving.health import health
from serving.predictions import predictions
from serving.workers import Workers

_FORM = 'Send {"inputs": ["...", ...]} as application/json.'
_SHOWN = 3  # mistakes a message
_LONGEST_PLACE = 80  # characters: a place may be a key of the caller's


def make_app(champions: Champions, workers: Workers) -> FastAPI:
    """Everything that `headrace serve` answers. What is served besides models is one more router here."""
    # FastAPI's own pages of the API load scripts from elsewhere; /openapi.json is what tools read.
    app = FastAPI(title="Headrace", docs_url=None, redoc_url=None)
    app.add_middleware(BodyLimit)
    app.include_router(predictions(champions, workers))
    app.include_router(health(champions))
    app.add_exception_handler(RequestValidationError, _mistake)
    app.add_exception_handler(400, _unreadable)
    app.add_exception_handler(Exception, _failure)
    return app


async def _mistake(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": f"{_in_words(error.errors())} {_FORM}"}, 422)


async def _unreadable(request: Request, error: Exception) -> JSONResponse:
    """FastAPI's 400 is of what is no JSON either: not UTF-8, or brackets a thousand deep."""
    return JSONResponse({"detail": f"the body is not JSON that can be read. {_FORM}"}, 422)


async def _failure(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "the server failed at this request; its log says why."}, 500)


def _in_words(mistakes: Sequence[Any]) -> str:
    more = len(mistakes) - _SHOWN
    return " ".join([*map(_mistake_in_words, mistakes[:_SHOWN]), *([f"And {more} more."] if more > 0 else [])])


def _mistake_in_words(mistake: Any) -> str:
    why = mistake.get("ctx", {}).get("error") or mistake["msg"]
    if mistake["type"] == "json_invalid":
        return f"the body is not JSON: {why} at character {mistake['loc'][1] + 1}."
    return f"{_place(mistake['loc'])}: {why}."


def _place(location: Sequence[Any]) -> str:
    """inputs.3 of ("body", "inputs", 3), in characters that any encoding has."""
    inside = ".".join(str(part) for part in location[1:])[:_LONGEST_PLACE]
    return inside.encode("ascii", "backslashreplace").decode() or "the body"
