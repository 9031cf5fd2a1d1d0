"""The process behind `headrace serve`: takes its port, loads what it serves, answers until it is told to end."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import BadRequest, Outage
from core.workspace import Workspace
from registry.promotion.promotion import Judge
from registry.store.overview import standings
from registry.store.versions import CHAMPION, resolve
from serving.app import make_app
from serving.http.api_keys import ANYBODY, OPERATOR, Keys, key_file, read_keys
from serving.http.door import is_loopback
from serving.http.threads import WORKERS, Workers
from serving.indexes.indexes import Indexes
from serving.models.champions import Champions

if TYPE_CHECKING:
    from fastapi import FastAPI

END_S = 30  # seconds that requests in flight have once the process is told to end
_HIGHEST_PORT = 65535

Tell = Callable[[str, Mapping[str, str], Mapping[str, str]], None]  # the address, model -> version, index -> release


def serve(
    workspace: Workspace, judge: Judge, names: Sequence[str], *,
    host: str, port: int, tell: Tell, workers: int = WORKERS, without_keys: bool = False,
) -> None:  # fmt: skip
    """Serve the published indexes, and the champions of these models (none: of all), until Ctrl-C or SIGTERM.

    tell is called once it listens. without_keys: let other machines ask without a key.
    Raises BadRequest for an address that cannot be had, for one that other machines reach while there are no keys, for
    a key file that cannot be read, and for a model that is not registered. A registry that is away is waited for, and
    so is a champion that is not there or cannot be loaded: /ready says it.
    """
    _end_by_interrupt()
    with contextlib.suppress(KeyboardInterrupt), _listening(host, port) as listener, _plain_log():
        keys = _keys(key_file(workspace), host, without_keys=without_keys)
        _require_registered(names, workspace)
        champions, indexes = Champions(workspace.var, judge, names, _say), Indexes(workspace)
        champions.look()
        for index, why in indexes.warm().items():
            _say(f"{index}: {why}")
        models = {name: each.loaded.version.version for name, each in champions.serving.items()}
        tell(_url(listener), models, indexes.standing().live)
        with champions.following():
            _run(make_app(champions, indexes, Workers(workers), keys), listener)


def _keys(file: Path, host: str, *, without_keys: bool) -> Keys:
    """Raises BadRequest where other machines could ask without a key, and nobody said that they may."""
    if file.exists():
        read_keys(file)
        return Keys(file, None)
    if is_loopback(host):
        return Keys(file, OPERATOR)
    if not without_keys:
        raise BadRequest(
            f"--host {host} can be reached from other machines, and there are no keys ({file} is not there). `headrace "
            "serve --new-key NAME` makes one; with --without-keys whoever reaches it may ask, and sees documents "
            "without labels."
        )
    _say(f"{host} can be reached from other machines, and whoever reaches it may ask: no key is wanted.")
    return Keys(file, ANYBODY)


def _run(app: FastAPI, listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=END_S, server_header=False
    )
    uvicorn.Server(config).run(sockets=[listener])


class _Log(io.TextIOWrapper):
    def isatty(self) -> bool:
        return False


@contextlib.contextmanager
def _plain_log() -> Iterator[None]:
    """stderr as no terminal: predictions of several threads would draw progress bars over each other, 7 ms each."""
    with (
        _Log(os.fdopen(os.dup(2), "wb"), errors="backslashreplace", line_buffering=True) as log,
        contextlib.redirect_stderr(log),
    ):
        yield


def _end_by_interrupt() -> None:
    """SIGTERM ends the process as Ctrl-C does: uvicorn ends its requests, then raises the signal that it was sent."""
    if threading.current_thread() is threading.main_thread():
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.default_int_handler)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on; they wait until the models are loaded. Raises BadRequest."""
    if not 0 <= port <= _HIGHEST_PORT:
        raise BadRequest(f"--port {port}: allowed is 0 (any free one) to {_HIGHEST_PORT}.")
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        # Inherited by each connection. asyncio sets it only where the protocol was named; without it Nagle and delayed
        # acknowledgements hold every answer for 40 ms (/health: 45 ms, and 2 ms with it).
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BadRequest(
                f"port {port} of {host} is in use. Name another one with --port, or leave it out to get a free one."
            ) from None
        raise BadRequest(f"--host {host} --port {port} cannot be listened on: {error.strerror or error}.") from None


def _require_registered(names: Sequence[str], workspace: Workspace) -> None:
    """Raise BadRequest, naming those that are, for a model that is not registered; not while the registry is away."""
    with contextlib.suppress(Outage):
        known = {each.name for each in standings(workspace.var)} if names else set()
        for name in names:
            if name not in known and (workspace.root / "indexes" / f"{name}.yaml").is_file():
                raise BadRequest(f"{name} is an index: all that are published are served anyway. Leave it out.")
            if name not in known:
                resolve(name, CHAMPION, workspace.var)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
