"""The pages: / asks indexes, /models.html models, /docs shows the calls. Files; the browser loads nothing else."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Response

from core.errors import HeadraceError

_HERE = Path(__file__).parent
_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/common.js": ("common.js", "text/javascript"),
    "/page.js": ("page.js", "text/javascript"),
    "/models.html": ("models.html", "text/html"),
    "/models.js": ("models.js", "text/javascript"),
    "/docs": ("docs.html", "text/html"),
    "/docs.js": ("docs.js", "text/javascript"),
    "/swagger-ui.css": ("swagger-ui.css", "text/css"),
    "/swagger-ui-bundle.js": ("swagger-ui-bundle.js", "text/javascript"),
}
PATHS = tuple(_FILES)
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data: blob:; "
        "media-src blob:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",  # an upgraded server's page is the new one
    "Referrer-Policy": "no-referrer",
}


def page() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    for path, (name, kind) in _FILES.items():
        content = ((_swagger() if name.startswith("swagger-ui") else _HERE) / name).read_bytes()
        router.add_api_route(path, _answering(content, kind), response_class=Response)
    return router


def _swagger() -> Path:
    """Where the package fastapi-offline has Swagger UI's files; nothing of the package runs."""
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise HeadraceError(
            "the package fastapi-offline, which /docs is from, is not installed. `make install` does it."
        )
    return Path(spec.origin).parent / "static"


def _answering(content: bytes, kind: str):  # type: ignore[no-untyped-def]
    async def answer() -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)

    return answer
