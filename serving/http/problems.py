"""Why there is no answer: one shape for every refusal, and what each status means, for the API's own description."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi import HTTPException
from pydantic import BaseModel

from core.errors import BadRequest, HeadraceError

NOSNIFF = ("x-content-type-options", "nosniff")  # on every answer: no browser takes it for another type than it says
_MEANS = {
    400: "The request is not HTTP that can be read.",
    401: "This server wants a key, and the request has none that it knows.",
    403: "The key has no right to this, or a page of another site asked.",
    404: "There is no such thing, or none that the caller may see.",
    409: "The documents of this index are not kept in a folder that the API may write.",
    413: "The body is too large.",
    415: "This kind of file cannot be a document under this name.",
    421: "The request was meant for another host.",
    422: "The request cannot be understood; the detail says where.",
    429: "The key has asked too often. Retry-After says when it may again, in seconds.",
    500: "The server failed; its log says why.",
    503: "Busy, or something that the answer needs is away. Retry-After says when to ask again, in seconds.",
    504: "The answer took too long.",
}
_ANYWHERE = (401, 403, 421, 422, 429, 500)


class Problem(BaseModel):
    """Why there is no answer."""

    detail: str


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route may refuse with, beside what any may."""
    return {each: {"model": Problem, "description": _MEANS[each]} for each in sorted({*_ANYWHERE, *statuses})}


def later(why: str) -> HTTPException:
    return HTTPException(503, why, headers={"Retry-After": "1"})  # seconds


@contextmanager
def refusals() -> Iterator[None]:
    """Any caller hears what is wrong with the question; what is wrong with the server is for its log."""
    try:
        yield
    except BadRequest as fault:
        raise HTTPException(422, str(fault)) from None
    except HeadraceError as fault:
        print(str(fault), file=sys.stderr, flush=True)
        raise later("this cannot be answered for now; the server's log says why.") from None
