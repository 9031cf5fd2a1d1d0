"""Who may come in: the host that was meant, pages of other sites, keys and their pace. Before a body is read.

A page of another site may make a browser ask a server on this machine. It is told by what a browser adds and a page
cannot take away: Origin and Sec-Fetch-Site; and, where a name of its own was made to point here, by Host: without keys,
a request must be meant for the address at which it arrives, or for a name that is this machine's.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlsplit

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import HeadraceError
from serving.http.api_keys import Caller, Keys, Right
from serving.page import PATHS

OPEN = (*PATHS, "/health", "/openapi.json")  # hold nothing that is anybody's
_LINKED = ("/", "/docs")  # a link on another site may lead there
_MAY_KNOW = "/ready"  # says more to whoever shows a key
_bearer = HTTPBearer(auto_error=False, description="a key, where the server wants one")


class Door:
    """ASGI middleware: what passes has a caller in its state."""

    def __init__(self, app: ASGIApp, keys: Keys, hosts: frozenset[str]) -> None:
        self._app, self._keys, self._hosts = app, keys, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refused(scope) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)

    def _refused(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if not self._keys.needed and not self._is_meant(_hostname(headers.get("host", "")), scope):
            told = "this server answers to this machine's own names only: its address, localhost on the machine itself"
            return _refusal(421, f"{told}, and what --allowed-host names.")
        if of_another_site(headers) and scope["path"] not in _LINKED:
            return _refusal(403, "a page of another site may not ask this server.")
        try:
            scope.setdefault("state", {})["caller"] = None
            key = _presented(headers)
            if scope["path"] not in OPEN and not (scope["path"] == _MAY_KNOW and key is None and self._keys.needed):
                scope["state"]["caller"] = self._keys.caller(key)
        except HTTPException as unwanted:
            return _refusal(unwanted.status_code, unwanted.detail, unwanted.headers)
        except HeadraceError:
            return _refusal(503, "the server's key file cannot be read; until then nobody is let in.")
        return None

    def _is_meant(self, host: str, scope: Scope) -> bool:
        """Whether a Host is this machine's: a name that belongs to it, or the address at which the request arrived."""
        arrived = str((scope.get("server") or ("",))[0])
        return host in self._hosts or (is_loopback(host) if is_loopback(arrived) else _same_address(host, arrived))


def may(right: Right) -> Callable[..., Awaitable[Caller]]:
    """A dependency: the caller, who must have this right."""

    async def caller(request: Request, _: object = Depends(_bearer)) -> Caller:
        found: Caller = request.state.caller
        if right not in found.rights:
            raise HTTPException(403, f"this key has no right to {right}.")
        return found

    return caller


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own, which no other machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _hostname(authority: str) -> str:
    """127.0.0.1 of 127.0.0.1:8000, ::1 of [::1]:8000; what is none is no name of ours."""
    try:
        return (urlsplit(f"//{authority}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _same_address(one: str, other: str) -> bool:
    try:
        return ipaddress.ip_address(one) == ipaddress.ip_address(other.partition("%")[0])
    except ValueError:
        return False


def of_another_site(headers: Headers) -> bool:
    """Whether a browser says that a page of another site, or of another port of this machine, asks."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return True
    return headers.get("sec-fetch-site") in ("cross-site", "same-site")


def _presented(headers: Headers) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else None


def _refusal(status: int, why: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": why}, status, headers)
