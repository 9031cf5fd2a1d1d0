"""Who may ask a local server of the workspace: its owner's browser and clients. ASGI middleware before its app.

A client sends the server's key. A browser gets in by the link that Headrace prints: its token is good while the server
lives, and is exchanged for a cookie, so that it stays neither in the address bar nor in a log. Cookies know no ports:
one for 127.0.0.1 would be sent to every page that another user of this machine serves on another port. So the page has
a host name of its own, random and new at each start, below `localhost`, which browsers resolve to this machine by
themselves; the cookie is given under that name alone. A page of another site is told by Origin and Sec-Fetch-Site, a
name of another site that was made to point here by Host.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from flows.servers.local import Server
from serving.http.door import of_another_site

_COOKIE = "headrace"
_PATIENCE_S = 10.0  # for the first message of a websocket
_SUBPROTOCOL = "prefect"  # its first message holds the key
_POLICY_VIOLATION = 1008  # RFC 6455, section 7.4.1
_CLOSED = "This page is its owner's alone. Open it by the link that `headrace status` prints.\n"


class Entrance:
    """app: gets what is let in."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app, self._server, self._cookie = app, server, secrets.token_urlsafe(32)
        self._hosts = {f"{name}:{server.port}" for name in (server.host, "127.0.0.1", "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await (self._answer(scope) or self._app)(scope, receive, _discreet(send))
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _answer(self, scope: Scope) -> Response | None:
        """None: it may ask the app."""
        headers = Headers(scope=scope)
        if (refusal := self._refusal(scope, headers)) is not None:
            return refusal
        rest = _without_token(scope, self._server.token)
        if rest is not None:
            return self._opened(scope, headers["host"], rest)
        return None if self._is_known(headers) else PlainTextResponse(_CLOSED, 401, {"WWW-Authenticate": "Bearer"})

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if headers.get("host") not in self._hosts:
            return PlainTextResponse("This server answers to its own names only.\n", 421)
        if of_another_site(headers) and not _is_followed_link(scope, headers):
            return PlainTextResponse("A page of another site may not ask this server.\n", 403)
        return None

    def _opened(self, scope: Scope, host: str, rest: str) -> Response:
        """The same address without the token, and the cookie; under another name, the page's own name first."""
        own = f"{self._server.host}:{self._server.port}"
        path = scope.get("raw_path", b"/").decode("ascii", "replace")
        if host != own:
            rest = f"{rest}{'&' if rest else ''}token={self._server.token}"
        answer = RedirectResponse(f"http://{own}{path}{'?' if rest else ''}{rest}", 303)
        answer.headers.update({"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"})
        if host == own:
            answer.set_cookie(_COOKIE, self._cookie, httponly=True, samesite="lax", path="/")
        return answer

    def _is_known(self, headers: Headers) -> bool:
        given, cookies = headers.get("authorization", ""), cookie_parser(headers.get("cookie", ""))
        known = [_same(given, self._server.authorization), _same(given, f"Bearer {self._server.key}")]
        return any([*known, _same(cookies.get(_COOKIE, ""), self._cookie)])

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if self._refusal(scope, headers) is not None:
            await WebSocketClose(_POLICY_VIOLATION)(scope, receive, send)
        elif self._is_known(headers):
            await self._app(scope, receive, send)
        elif _SUBPROTOCOL in scope.get("subprotocols", ()):  # most of Prefect's clients send no header with it
            await self._app(scope, self._introduced(receive, send), send)
        else:
            await WebSocketClose(_POLICY_VIOLATION)(scope, receive, send)

    def _introduced(self, receive: Receive, send: Send) -> Receive:
        """What a websocket receives, once its first message held the key; else it is closed."""
        known = False

        async def received() -> Message:
            nonlocal known
            if known:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), _PATIENCE_S)
            except TimeoutError:
                message = {"type": "websocket.receive", "text": ""}
            if message["type"] != "websocket.receive":
                return message
            known = _same(_presented(message.get("text")), self._server.credentials)
            if known:
                return message
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": "the key is missing or wrong"})
            return {"type": "websocket.disconnect", "code": _POLICY_VIOLATION}

        return received


def _is_followed_link(scope: Scope, headers: Headers) -> bool:
    """Whether a person opens the page from elsewhere: a GET that shows it, of which the other page reads nothing."""
    shown = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
    return scope["type"] == "http" and scope["method"] == "GET" and "origin" not in headers and shown


def _without_token(scope: Scope, token: str) -> str | None:
    """The query without the link's token; None where there is none, or another."""
    if scope["method"] not in ("GET", "HEAD"):
        return None
    query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    rest = [(name, value) for name, value in query if not (name == "token" and _same(value, token))]
    return urlencode(rest) if len(rest) < len(query) else None


def _discreet(send: Send) -> Send:
    """The page tells nobody else its name: no link that leads out, and no analytics, which Prefect's has."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("Referrer-Policy", "same-origin")
            headers.setdefault("Content-Security-Policy", "connect-src 'self' data: blob:; frame-ancestors 'self'")
        await send(message)

    return sent


def _presented(text: str | None) -> str:
    """The key in the first message of a websocket of Prefect's."""
    try:
        said = json.loads(text or "")
    except (ValueError, RecursionError):
        return ""
    return str(said.get("token")) if isinstance(said, dict) and said.get("type") == "auth" else ""


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
