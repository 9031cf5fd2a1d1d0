"""How much a request may send, and of what shape: what is refused costs about as much as reading it.

More bytes than allowed end with 413 before they are in memory. JSON may be long in its strings only, and an object has
few keys: both are looked at before anything is made of them, since a parser makes an object of every two bytes, and
pydantic an error of every key.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, ConfigDict, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 8 * 2**20  # a photograph of 6 MB in base64, or 1.5 million words
MAX_QUESTION_BYTES = 64 * 2**10  # a question of 2,000 characters and four filters, each letter as \\uXXXX
MAX_STRUCTURE_BYTES = 64 * 2**10  # outside of strings: 256 inputs need 1,000
_BEGINNING = 4 * MAX_STRUCTURE_BYTES
MAX_KEYS = 16  # of an object; the largest that is known has four
# Whose bodies may be large; a question's may not. A path that only begins so is refused by the router.
_LARGE = re.compile(r"/models/|/indexes/[^/]+/documents/")


def whole(text: str) -> str:
    """JSON can say half a character, which no encoding has and every library fails at in its own way."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"character {error.start + 1} is half of a surrogate pair") from None
    return text


def whole_input(value: Any) -> Any:
    """A text, or an object with whole texts in it."""
    if isinstance(value, str):
        return whole(value)
    if not isinstance(value, dict):
        raise PydanticCustomError("input", "Input should be a valid string or an object of columns")
    whole(json.dumps(value, ensure_ascii=False))
    return value


Text = Annotated[str, AfterValidator(whole)]
Input = Annotated[Any, AfterValidator(whole_input), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})]


class Body(BaseModel):
    """What a request says in JSON: a few known keys."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_keys(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > MAX_KEYS:
            raise ValueError(f"an object of {len(value):,} keys; at most {MAX_KEYS} are read")
        return value


class Route(APIRoute):
    """A route whose JSON is read by loads()."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_Request(request.scope, request.receive))

        return handle


class _Request(Request):
    async def json(self) -> Any:
        body = await self.body()
        if len(body) <= MAX_QUESTION_BYTES:
            return loads(body)
        return await asyncio.to_thread(loads, body)  # 8 MB take a tenth of a second, others are answered meanwhile


def loads(body: bytes) -> Any:
    """JSON, in UTF-8 as RFC 8259 wants it. Raises ValueError for what is none, or mostly structure."""
    encoding = json.detect_encoding(body)
    if not encoding.startswith("utf-8"):
        raise json.JSONDecodeError("Expecting value", "", 0)
    require_text(body)
    return json.loads(body.decode(encoding, "surrogatepass"))


def require_text(body: bytes) -> None:
    """Raise ValueError for JSON that is mostly structure; quotation marks count."""
    for part in (body[:_BEGINNING], body):  # most of what is refused is so from its beginning on
        plain = part.replace(rb"\\", b"").replace(rb"\"", b"")  # in strings: what is left of " begins or ends one
        outside = plain.count(b'"')
        if outside <= MAX_STRUCTURE_BYTES:
            outside += sum(map(len, plain.split(b'"')[::2]))
        if outside > MAX_STRUCTURE_BYTES:
            raise ValueError(f"more than {MAX_STRUCTURE_BYTES:,} bytes of JSON outside of its strings")


class BodyLimit:
    """ASGI middleware: bodies of at most so many bytes, whether a header says how many there are or not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        large = _LARGE.match(scope.get("path", "")) is not None
        most, read = MAX_BODY_BYTES if large else MAX_QUESTION_BYTES, 0
        told = f"the body is larger than {most:,} bytes. {_INSTEAD[large]}"
        announced = dict(scope.get("headers", ())).get(b"content-length", b"0")
        if announced.isdigit() and int(announced[:20]) > most:
            await JSONResponse({"detail": told}, 413)(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                raise HTTPException(413, told)
            return message

        await self._app(scope, counted, send)


_INSTEAD = {True: "Send the inputs in several requests.", False: "A question has at most 2,000 characters."}
