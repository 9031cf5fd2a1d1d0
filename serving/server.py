"""The process behind `headrace serve`: takes its port, loads what it serves, answers until it is told to end."""

from __future__ import annotations

import contextlib
import errno
import io
import ipaddress
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import BadRequest, Outage
from core.workspace import Workspace
from registry.promotion.promotion import Judge
from registry.store.overview import standings
from registry.store.versions import CHAMPION, resolve
from serving.app import make_app
from serving.http.api_keys import ANYBODY, OPERATOR, Keys, hash_of, key_file, read_keys
from serving.http.door import is_loopback
from serving.http.threads import WORKERS, Workers
from serving.indexes.indexes import Indexes
from serving.indexes.update_runs import Start, Updates
from serving.models.champions import Champions
from serving.ports import port_before, remember_port

if TYPE_CHECKING:
    import asyncio

    import uvicorn
    from fastapi import FastAPI

_OPERATORS = (
    "no key is wanted: every user of this machine is the operator here, sees all documents and may write them. On a "
    "machine with other users, --session-key makes a key for this run, `headrace key NAME` one that stays."
)
END_S = 30  # seconds that requests in flight have once the process is told to end
_HIGHEST_PORT = 65535
_NAME = "serve"  # among the workspace's servers

# The address, model -> version, index -> release, the key of this process if it has one.
Tell = Callable[[str, Mapping[str, str], Mapping[str, str], str | None], None]


@dataclass(frozen=True)
class Callers:
    """Who may ask: without_keys lets other machines ask without a key; session_key is one of this process alone.

    allowed_hosts: names of this machine, beside those that it knows itself, which a request without a key may be
    meant for.
    """

    without_keys: bool = False
    session_key: str | None = None
    allowed_hosts: Sequence[str] = ()


def serve(
    workspace: Workspace, judge: Judge, names: Sequence[str], start: Start, *,
    host: str, port: int, tell: Tell, workers: int = WORKERS, callers: Callers | None = None,
) -> None:  # fmt: skip
    """Serve the published indexes, and the champions of these models (none: of all), until Ctrl-C or SIGTERM.

    start: how an index is brought up to date; what runs then ends with the server. tell is called once it listens.
    Raises BadRequest for an address that cannot be had, for one that other machines reach while there are no keys, for
    a key file that cannot be read, and for a model that is not registered. A registry that is away is waited for, and
    so is a champion that is not there or cannot be loaded: /ready says it.
    """
    _end_by_interrupt()
    # Threads of OpenMP that wait for each other sleep. Spinning, 13 ms of work took 139 of CPU beside other programs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with contextlib.suppress(KeyboardInterrupt), _listener(workspace, host, port) as listener, _plain_log():
        callers = callers or Callers()
        keys = _keys(key_file(workspace), host, callers)
        _require_registered(names, workspace)
        champions, indexes = Champions(workspace.var, judge, names, _say), Indexes(workspace)
        champions.look()
        for index, why in indexes.warm().items():
            _say(f"{index}: {why}")
        models = {name: each.loaded.version.version for name, each in champions.serving.items()}
        tell(_url(listener), models, indexes.standing().live, callers.session_key)
        _warn(keys, host)
        updates = Updates(start, workspace.var / "logs" / "updates", _say)
        with champions.following(), updates.ending():
            app = make_app(champions, indexes, updates, Workers(workers), keys, _hosts(keys, callers.allowed_hosts))
            configured(app).run(sockets=[listener])


def _keys(file: Path, host: str, callers: Callers) -> Keys:
    """Raises BadRequest where other machines could ask without a key, and nobody said that they may."""
    if callers.session_key is not None and callers.without_keys:
        raise BadRequest("--session-key makes a key, and --without-keys wants none: leave one of them out.")
    if file.exists():
        read_keys(file)
    if file.exists() or callers.session_key is not None:
        return Keys(file, None, session=callers.session_key and hash_of(callers.session_key))
    if is_loopback(host):
        return Keys(file, OPERATOR)
    if not callers.without_keys:
        raise BadRequest(
            f"--host {host} can be reached from other machines, and there are no keys ({file} is not there). `headrace "
            "key NAME` makes one; with --without-keys whoever reaches it may ask, and sees documents without labels."
        )
    return Keys(file, ANYBODY)


def _warn(keys: Keys, host: str) -> None:
    if keys.without is OPERATOR:
        _say(_OPERATORS)
    elif keys.without is ANYBODY:
        _say(
            f"{host} can be reached from other machines, by this one's address or name (--allowed-host names others), "
            "and whoever reaches it may ask: no key is wanted."
        )


def _hosts(keys: Keys, allowed: Sequence[str]) -> frozenset[str]:
    """Names that a request without a key may be meant for, beside addresses. The machine's own where others may ask.

    On loopback its names are not among them: whoever answers for names on the network could make a page of theirs ask.
    """
    own = [socket.gethostname(), socket.getfqdn()] if keys.without is ANYBODY else []
    own = [name for name in own if not is_loopback(name)]  # of a machine that knows no other name for itself
    return frozenset(name.lower().rstrip(".") for name in (*own, *allowed))


def configured(app: FastAPI, connection: type[asyncio.Protocol] | None = None) -> uvicorn.Server:
    """The server of an application, with its limits."""
    import uvicorn

    from serving.http.connections import AT_ONCE, Connection, Server
    from serving.http.problems import NOSNIFF

    config = uvicorn.Config(
        app, http=connection or Connection, ws="none", log_config=None, access_log=False, server_header=False,
        timeout_graceful_shutdown=END_S, backlog=AT_ONCE, headers=[NOSNIFF],
    )  # fmt: skip
    return Server(config)


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


def _listener(workspace: Workspace, host: str, port: int) -> socket.socket:
    """At the port that was named, or else at the one that the last server of this workspace had, or any free one."""
    if port == 0 and (before := port_before(workspace, _NAME)):
        with contextlib.suppress(BadRequest):
            return _listening(host, before)
    listener = _listening(host, port)
    if port == 0:
        remember_port(workspace, _NAME, listener.getsockname()[1])
    return listener


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
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:  # all addresses: here, this one of them
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
