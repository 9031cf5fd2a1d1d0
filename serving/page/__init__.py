"""GET /: one page that asks the API. Three files as they stand here; the browser is told to load nothing else."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response

_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",  # an upgraded server's page is the new one
    "Referrer-Policy": "no-referrer",
}


def page() -> APIRouter:
    router = APIRouter(include_in_schema=False)
    for path, (name, kind) in _FILES.items():
        content = (Path(__file__).parent / name).read_bytes()
        router.add_api_route(path, _answering(content, kind), response_class=Response)
    return router


def _answering(content: bytes, kind: str):  # type: ignore[no-untyped-def]
    async def answer() -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)

    return answer
