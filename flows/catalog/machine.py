"""What this machine and its environment would stop a stage by: disk, folders, servers, proxies, keys."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from core.errors import BadRequest
from core.patience import limit_s
from core.workspace import Workspace
from flows.catalog.finding import Finding, Severity, tried
from flows.graph.plan import Patience
from flows.servers.servers import require_usable_proxies
from registry.store import signing

_LITTLE_DISK_BYTES = 1 << 30
_NO_DISK_BYTES = 50 << 20
_CONNECT_TIMEOUT_S = 5.0
_SERVERS = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "QDRANT_URL")
_PORTS = {"http": 80, "https": 443}
_WRITTEN = (".", "data", "var", ".dvc", ".dvc/cache", ".dvc/tmp")  # folders of a workspace


def machine(workspace: Workspace) -> Iterator[Finding]:
    """All of it, servers of the user's that do not answer included."""
    yield from disk(workspace)
    yield from variables()
    yield from _servers()
    if warning := signing.exposed():
        yield Finding("warning", signing.KEY, warning)


def disk(workspace: Workspace) -> Iterator[Finding]:
    """Room, and folders that cannot be written."""
    free = shutil.disk_usage(workspace.root).free
    if free < _LITTLE_DISK_BYTES:
        severity: Severity = "mistake" if free < _NO_DISK_BYTES else "warning"
        yield Finding(severity, str(workspace.root), f"only {free >> 20:,} MB of disk are free.")
    for folder in (*(workspace.root / name for name in _WRITTEN), Path(tempfile.gettempdir())):
        if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
            yield Finding("mistake", str(folder), "it cannot be written: stages write there. Allow it (`chmod u+rwx`).")


def variables() -> Iterator[Finding]:
    """What the environment says and no stage can use."""
    yield from tried("the environment", require_usable_proxies)
    yield from tried("the environment", limit_s)
    yield from tried("the environment", Patience.from_environment)
    yield from tried("the environment", _one_process)
    for variable, look in ((signing.KEY, signing.signing_key), (signing.TRUSTED, signing.trusted_keys)):
        yield from tried(variable, look)


def _one_process() -> None:
    told = os.environ.get("WORLD_SIZE", "1")
    if told != "1":
        raise BadRequest(f"WORLD_SIZE={told!r}: training runs in one process. Unset it.")


def _servers() -> Iterator[Finding]:
    """Servers of the user's that do not take a connection; the embedded ones are started when needed."""
    for variable in _SERVERS:
        try:
            url = urlsplit(os.environ.get(variable, ""))
            if url.scheme not in _PORTS or not url.hostname:
                continue
            port = url.port or _PORTS[url.scheme]
        except ValueError:  # the value is not repeated: it may hold a password
            yield Finding("mistake", variable, "is no address. Allowed: http://HOST:PORT, https://HOST:PORT.")
            continue
        try:
            socket.create_connection((url.hostname, port), _CONNECT_TIMEOUT_S).close()
        except OSError as error:
            message = f"{url.scheme}://{url.hostname}:{port} does not answer ({error}). Start it, or unset {variable}."
            yield Finding("outage", variable, message)
