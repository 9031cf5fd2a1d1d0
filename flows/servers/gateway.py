"""`python -m flows.servers.gateway prefect|mlflow WORKSPACE`: a local server, behind entrance.py.

The process binds the port that it had before, or a free one, of this machine's own addresses, writes down which
(local.py), and then serves.
Prefect is loaded at once, MLflow with the first request that is let in: a run whose page nobody opens costs no MLflow.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast, get_args
from urllib.parse import quote

import psutil
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from core.workspace import Workspace
from flows.servers.local import Name, Server, announce
from serving.ports import port_before, remember_port

_TRIES = 50  # ports that are free at 127.0.0.1 and taken at ::1
_KEEP_ALIVE_S = 5
_UNWIND_S = 3  # for what is open when the server is ended
_SECRET_BYTES = 32
_NAME_BYTES = 8  # of the host name: whoever guesses it is sent the cookie, if its owner goes there


def main() -> None:
    name, root = cast(Name, sys.argv[1]), Path(sys.argv[2])
    if name not in get_args(Name):
        sys.exit(f"{name!r}: no such server. Allowed: {', '.join(get_args(Name))}.")
    os.umask(0o077)  # its database and files are the owner's alone
    workspace = Workspace(root)
    sockets = bound(port_before(workspace, name))
    server = new_server(name, sockets[0].getsockname()[1])
    remember_port(workspace, name, server.port)
    announce(workspace, name, server)
    _serve(_prefect(workspace, server) if name == "prefect" else _mlflow(workspace, server), server, sockets)


def bound(wanted: int = 0) -> list[socket.socket]:
    """One port of 127.0.0.1, and of ::1 where there is one: a browser that asks there first finds nobody else.

    wanted: taken if it is free.
    """
    for port in (wanted, *[0] * _TRIES):
        try:
            first = _listening(socket.AF_INET, "127.0.0.1", port)
        except OSError:  # somebody else listens there
            continue
        try:
            return [first, _listening(socket.AF_INET6, "::1", first.getsockname()[1])]
        except OSError as error:
            if error.errno != errno.EADDRINUSE:  # this machine has no IPv6
                return [first]
            first.close()
    sys.exit("no port is free both at 127.0.0.1 and at ::1.")


def _listening(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    listener = socket.socket(family)
    try:
        # Connections that are still being closed do not hold the port for the next start. A port that somebody listens
        # at is taken all the same, by `bind` or else by `listen`.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def new_server(name: Name, port: int) -> Server:
    """This process, with secrets of its own."""
    host = f"{name}-{secrets.token_hex(_NAME_BYTES)}.localhost"
    key, token = (secrets.token_urlsafe(_SECRET_BYTES) for _ in range(2))
    return Server(os.getpid(), psutil.Process().create_time(), port, host, key, token)


def _serve(app: ASGIApp, server: Server, sockets: list[socket.socket]) -> None:
    """As `prefect server start` and `mlflow server` do, and without a log of requests: the link's token is in one."""
    import uvicorn

    from flows.servers.entrance import Entrance

    config = uvicorn.Config(
        Entrance(app, server), log_level="warning", access_log=False, proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE_S, timeout_graceful_shutdown=_UNWIND_S,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets)


def _prefect(workspace: Workspace, server: Server) -> ASGIApp:
    home = workspace.var / "prefect"
    os.environ |= {
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "no-profile"),  # profiles.toml is for its clients
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_UI_API_URL": f"{server.page}/api",  # or its page asks port 4200
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": server.page,
    }
    if "?" in str(home):  # SQLAlchemy takes what stands behind it for options, unless SQLite reads the path as a URI
        path = quote(str(home / "prefect.db"))
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///file:{path}?uri=true"
    from prefect.server.api.server import create_app

    return create_app(final=True)


def _mlflow(workspace: Workspace, server: Server) -> ASGIApp:
    hosts = [f"{name}:{server.port}" for name in (server.host, "127.0.0.1", "localhost")]

    def load() -> ASGIApp:
        from registry.store.mlflow_page import mlflow_page

        return mlflow_page(workspace.var, hosts=hosts, origin=server.page)

    return Late(load)


class Late:
    """An app that is loaded by the first request but GET /health, which says whether it is."""

    def __init__(self, load: Callable[[], ASGIApp]) -> None:
        self._load, self._loading = load, asyncio.Lock()
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # MLflow has none
            await WebSocketClose()(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == "/health":
            loaded = self._app is not None
            await PlainTextResponse("OK" if loaded else "not loaded yet", 200 if loaded else 503)(scope, receive, send)
        elif scope["type"] == "http":
            await (await self._loaded())(scope, receive, send)

    async def _loaded(self) -> ASGIApp:
        async with self._loading:
            if self._app is None:
                self._app = await asyncio.to_thread(self._load)
        return self._app


if __name__ == "__main__":
    main()
