"""Documents of an index by their id: PUT, GET, DELETE, in the folder that is the index's source."""

from __future__ import annotations

import hashlib
import json
import mimetypes
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Header, HTTPException, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, ValidationError

from core.file_locks import held
from serving.http.api_keys import Caller
from serving.http.bodies import Body, Text, require_text
from serving.http.door import may
from serving.http.once import once as made_once
from serving.http.problems import problems, refusals
from serving.http.threads import Workers
from serving.indexes.indexes import Indexes
from serving.indexes.parse_check import require_readable
from serving.indexes.source_folder import MAX_ID, folder_of

_BYTES = "application/octet-stream"
# What a name ends in -> the type that its content must have; of all others, any text.
_TYPES = {
    ".pdf": ("application/pdf",),
    ".docx": ("application/vnd.openxmlformats-officedocument.wordprocessingml.document",),
    ".html": ("text/html",), ".htm": ("text/html",), ".xhtml": ("application/xhtml+xml", "text/html"),
    ".md": ("text/markdown", "text/plain"), ".markdown": ("text/markdown", "text/plain"),
}  # fmt: skip
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object", "required": ["text"], "additionalProperties": False,
                    "properties": {"text": {"type": "string", "pattern": r"\S"}},
                },
                "example": {"text": "The river rose in the night."},
            },
            "text/plain": {"schema": {"type": "string", "pattern": r"\S"}},
            _BYTES: {"schema": {"type": "string", "format": "binary"}},
        },
    }
}  # fmt: skip
_OF_A_DOCUMENT = (404, 409)

Identity = Annotated[
    str,
    Path(
        max_length=MAX_ID, examples=["news/flood.md"],
        description="A relative path: no part empty, `..` or beginning with a dot; printable, Unicode NFC; no table.",
    ),
]  # fmt: skip
MayWrite = Annotated[Caller, Depends(may("write"))]
Once = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=200, pattern=r"^[!-~]+$",
        description="The same key with the same request is made once and answered the same; for a day.",
    ),
]  # fmt: skip


class Written(BaseModel):
    """searchable: when a search finds the change."""

    index: str
    id: str
    bytes: int
    sha256: str
    searchable: str


class Deleted(BaseModel):
    index: str
    id: str
    searchable: str


class _Text(Body):
    model_config = ConfigDict(strict=True)

    text: Text


def documents(indexes: Indexes, workers: Workers) -> APIRouter:
    router = APIRouter(tags=["documents"])
    repeats = indexes.workspace.var / "serving" / "repeats.db"
    path = "/indexes/{index}/documents/{id:path}"

    async def change(caller: Caller, once: str | None, said: list[str], make: Callable[[], BaseModel]) -> Response:
        """Make it, once for each key; the answer is the same text each time. said: verb and index first."""
        request = hashlib.sha256(json.dumps(said).encode()).hexdigest()

        def text() -> str:
            return make().model_dump_json()

        def text_once() -> str:
            return made_once(repeats, indexes.job(said[1]).name, caller.name, once, request, text) if once else text()

        with refusals():
            answer = await workers.run(text_once)
        return Response(answer, media_type="application/json")

    @router.put(
        path, response_model=Written, responses=problems(*_OF_A_DOCUMENT, 413, 415, 503, 504), openapi_extra=_BODY
    )
    async def put(index: str, id: Identity, request: Request, caller: MayWrite, once: Once = None) -> Response:
        """Add a document, or replace it: a text as {"text": ...}, or a file's bytes with their content type.

        It is read at once: one that cannot be read (a scan without text) is refused with the reason, and not stored."""
        kind, body = request.headers.get("content-type", ""), await request.body()

        def make() -> BaseModel:
            folder = folder_of(indexes.job(index))
            content = _content(id, kind.partition(";")[0].strip().lower(), body, folder.encoding)
            folder.require_writable(id, caller)
            require_readable(id, content, folder.encoding, indexes.workspace.var / "serving" / "incoming")
            with held(folder.lock):
                sha256 = folder.write(id, content, caller)
            return Written(index=index, id=id, bytes=len(content), sha256=sha256, searchable=_searchable(index))

        return await change(caller, once, ["PUT", index, id, kind, hashlib.sha256(body).hexdigest()], make)

    @router.delete(path, response_model=Deleted, responses=problems(*_OF_A_DOCUMENT, 503, 504))
    async def delete(index: str, id: Identity, caller: MayWrite, once: Once = None) -> Response:
        """Take a document away. What `headrace forget` does besides, this does not: copies and history stay."""

        def make() -> BaseModel:
            folder = folder_of(indexes.job(index))
            with held(folder.lock):
                folder.remove(id, caller)
            return Deleted(index=index, id=id, searchable=_searchable(index))

        return await change(caller, once, ["DELETE", index, id], make)

    @router.get(
        path, response_class=Response,
        responses={
            **problems(*_OF_A_DOCUMENT, 503, 504),
            200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}, "description": "Its bytes."},
        },
    )  # fmt: skip
    async def get(index: str, id: Identity, caller: Annotated[Caller, Depends(may("search"))]) -> Response:
        """A document as it stands in the folder, as a file to keep: a browser shows nothing that somebody uploaded."""
        with refusals():
            content = await workers.run(lambda: folder_of(indexes.job(index)).read(id, caller))
        kind = mimetypes.guess_type(id)[0] or _BYTES
        return Response(content, media_type=kind, headers={"Content-Disposition": "attachment"})

    return router


def _searchable(index: str) -> str:
    return f"after POST /indexes/{index}/updates, or `headrace index {index}`"


def _content(identity: str, kind: str, body: bytes, encoding: str) -> bytes:
    """The bytes of the file. Raises HTTPException 415 for a type that the name does not say."""
    suffix = next((each for each in _TYPES if identity.lower().endswith(each)), "")
    if kind == "application/json" and suffix not in (".pdf", ".docx"):
        try:
            require_text(body)
            return _Text.model_validate_json(body).text.encode(encoding)
        except ValidationError as error:
            raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from None
        except UnicodeEncodeError as error:
            raise HTTPException(422, f"text: character {error.start + 1} cannot be said in {encoding}.") from None
        except ValueError as error:
            raise HTTPException(422, f"{error}.") from None
    if kind != _BYTES and not (kind in _TYPES[suffix] if suffix else kind.startswith("text/")):
        wanted = " or ".join(_TYPES.get(suffix, ("text/...",)))
        raise HTTPException(415, f"{identity[:200]!r} must come as {wanted}, as {_BYTES}, or as JSON if it is text.")
    return body
