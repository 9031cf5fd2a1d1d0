"""The local Prefect server and the MLflow page of a workspace: started once, reused, ended by `headrace stop`.

PREFECT_API_URL or MLFLOW_TRACKING_URI, when set, name servers of the user's; then nothing is started here.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import psutil

from core.atomic_files import make_folder, write_json
from core.errors import Outage
from core.patience import limit_s, patiently
from core.workspace import Workspace
from flows.servers.turns import locked
from registry.store.connection import is_remote, public_address
from registry.store.webhooks import server_settings

Name = Literal["prefect", "mlflow"]
_VARIABLE: dict[Name, str] = {"prefect": "PREFECT_API_URL", "mlflow": "MLFLOW_TRACKING_URI"}
_HOST = "127.0.0.1"
_START_TIMEOUT_S = 120.0  # a cold start takes 10 to 25 s on two cores
_HEALTH_TIMEOUT_S = 5.0
_END_TIMEOUT_S = 10.0
_SERVERS_FAULT = 500  # from here on an HTTP status says that the server is to blame
_SAME_START_S = 0.01  # psutil's resolution of a process's start
_QUIET = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # four idle queue workers of its own, for features not used here
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


@dataclass(frozen=True)
class Server:
    """A server process of this workspace; `created` tells it from a later process with the same id."""

    pid: int
    created: float  # seconds since the epoch
    port: int

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.port}"

    def alive(self) -> bool:
        return self.process() is not None

    def process(self) -> psutil.Process | None:
        """The process, unless it ended or its id belongs to another one now."""
        try:
            process = psutil.Process(self.pid)
            ours = abs(process.create_time() - self.created) <= _SAME_START_S
            return process if ours and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def prefect_api(workspace: Workspace) -> str:
    """The URL of Prefect's API, its server started if need be and ready to answer.

    Raises Outage when it does not start.
    """
    if given := os.environ.get("PREFECT_API_URL"):
        return given
    server = _read(workspace, "prefect")
    if not (server and server.alive() and _healthy(server)):
        with locked(workspace, "prefect-server"):
            server = _read(workspace, "prefect")
            if not (server and server.alive()):
                server = _start(workspace, "prefect")
            _await(workspace, server)
    return f"{server.url}/api"


def prefect_running(workspace: Workspace) -> str | None:
    """The URL of Prefect's API where a server is up (one of the user's is taken to be); nothing is started."""
    if given := os.environ.get("PREFECT_API_URL"):
        return given
    server = _read(workspace, "prefect")
    return f"{server.url}/api" if server and server.alive() and _healthy(server) else None


def await_users_server() -> None:
    """Wait for the server that PREFECT_API_URL names, if it does. Raises Outage after HEADRACE_PATIENCE_S."""
    if given := os.environ.get("PREFECT_API_URL"):
        patiently(lambda: _require_answer(given))


@contextmanager
def prefect_environment(workspace: Workspace, api: str) -> Iterator[None]:
    """What Prefect reads when it is first imported, and hands to its child processes: which server, and to be quiet."""
    given = {
        "PREFECT_API_URL": api,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": os.environ.get("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30"),  # seconds
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # flows/reporting/screen.py says it in fewer words
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # of each event that a dead server did not take
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        **_patience(),
        **_QUIET,
    }
    if "PREFECT_API_URL" not in os.environ:  # else the user's profile may hold the key to their server
        given["PREFECT_HOME"] = str(workspace.var / "prefect")
    before = {key: os.environ.get(key) for key in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key)
            else:
                os.environ[key] = value


@contextmanager
def prefect_settings(workspace: Workspace, api: str) -> Iterator[None]:
    """Point Prefect at a server, also when this process imported it for another one before."""
    with prefect_environment(workspace, api):
        from prefect.settings import (
            PREFECT_API_URL,
            PREFECT_CLIENT_MAX_RETRIES,
            PREFECT_CLIENT_RETRY_EXTRA_CODES,
            temporary_settings,
        )

        retries, codes = _patience().values()
        with temporary_settings(
            {PREFECT_API_URL: api, PREFECT_CLIENT_MAX_RETRIES: retries, PREFECT_CLIENT_RETRY_EXTRA_CODES: codes}
        ):
            yield


def _patience() -> dict[str, str]:
    """How Prefect's client asks again: after 2, 4, 8 ... seconds, for HEADRACE_PATIENCE_S in all, and whatever failed.

    By itself it does so for 429, 502, 503 and lost connections.
    """
    retries = max(0, math.ceil(math.log2(limit_s() + 2)) - 1)
    return {"PREFECT_CLIENT_MAX_RETRIES": str(retries), "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,504"}


def start_mlflow_page(workspace: Workspace) -> str | None:
    """The URL of the MLflow page; its server is started, not waited for.

    None when the store is a file or database of the user's, or does not exist yet: MLflow creates the database's tables
    at its first use, and two processes doing that at once break it.
    """
    if given := os.environ.get("MLFLOW_TRACKING_URI"):
        return public_address(given) if given.startswith("http") else None
    if not (workspace.var / "mlflow" / "mlflow.db").exists():
        return None
    with locked(workspace, "mlflow-server"):
        server = _read(workspace, "mlflow")
        if not (server and server.alive()):
            server = _start(workspace, "mlflow")
    return server.url


def mlflow_running(workspace: Workspace) -> str | None:
    """The address of an MLflow server on this machine, where one is up (one of the user's is taken to be)."""
    if given := os.environ.get("MLFLOW_TRACKING_URI"):
        return given if is_remote() and is_loopback(given) else None
    server = _read(workspace, "mlflow")
    return server.url if server and server.alive() and _healthy(server, "/health") else None


def is_loopback(url: str) -> bool:
    """Whether a server's address is one of this machine alone."""
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:  # no address at all
        return False
    return host in ("localhost", "::1") or host.startswith("127.")


def pages(workspace: Workspace) -> dict[str, str]:
    """The web pages that are up: prefect, mlflow -> URL."""
    found: dict[str, str] = {}
    for name, variable in _VARIABLE.items():
        if given := os.environ.get(variable):
            if given.startswith("http"):
                found[name] = public_address(given).removesuffix("/api")
        elif (server := _read(workspace, name)) and server.alive():
            found[name] = server.url
    return found


def stop(workspace: Workspace) -> list[str]:
    """End this workspace's servers and their children; the names of those that ran."""
    ended = []
    for name in _VARIABLE:
        with locked(workspace, f"{name}-server"):
            server = _read(workspace, name)
            if server and (process := server.process()):
                _end(process)
                ended.append(str(name))
            _record(workspace, name).unlink(missing_ok=True)
    return ended


def _end(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        family = [process, *process.children(recursive=True)]
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.terminate()
        _, alive = psutil.wait_procs(family, timeout=_END_TIMEOUT_S)
        for member in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()


def _start(workspace: Workspace, name: Name) -> Server:
    port = _free_port()
    log = _log(workspace, name)
    make_folder(log.parent)
    folder = workspace.var / name
    make_folder(folder)
    env = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    if name == "mlflow":
        env = {**server_settings(folder), **env}
    env |= {
        **_QUIET,
        "PREFECT_HOME": str(workspace.var / "prefect"),
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_UI_API_URL": f"http://{_HOST}:{port}/api",  # or its page asks port 4200
    }
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", *_command(name, folder, port)],
            cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip
    server = Server(process.pid, psutil.Process(process.pid).create_time(), port)
    write_json(_record(workspace, name), asdict(server))
    return server


def _command(name: Name, folder: Path, port: int) -> list[str]:
    at = ["--host", _HOST, "--port", str(port)]
    if name == "prefect":
        return ["prefect", "server", "start", *at]
    store, artifacts = f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts"
    return [
        "mlflow", "server", *at, "--workers", "1",
        "--backend-store-uri", store, "--artifacts-destination", artifacts, "--default-artifact-root", artifacts,
    ]  # fmt: skip


def _await(workspace: Workspace, server: Server) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _healthy(server):
        if not server.alive() or time.monotonic() > deadline:
            log = _log(workspace, "prefect")
            raise Outage(
                f"the local Prefect server ({server.url}) did not start; its last words are in {log}. "
                "`headrace stop`, then run again, or name a server of yours in PREFECT_API_URL."
            )
        time.sleep(0.1)


def _require_answer(api: str) -> None:
    """Raise Outage unless a user's server answers, be it that it wants a key that only Prefect's client knows."""
    try:
        with urllib.request.urlopen(f"{api}/health", timeout=_HEALTH_TIMEOUT_S):  # noqa: S310
            return
    except (OSError, http.client.HTTPException) as error:
        if not isinstance(error, urllib.error.HTTPError) or error.code >= _SERVERS_FAULT:
            raise Outage(
                f"Prefect's server {api} (PREFECT_API_URL) does not answer ({error}). Start it, or unset the variable "
                "to use one of this workspace's own."
            ) from None


def _healthy(server: Server, path: str = "/api/health") -> bool:
    try:
        with urllib.request.urlopen(f"{server.url}{path}", timeout=_HEALTH_TIMEOUT_S) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _record(workspace: Workspace, name: Name) -> Path:
    return workspace.var / "servers" / f"{name}.json"


def _log(workspace: Workspace, name: Name) -> Path:
    return workspace.var / "logs" / f"{name}.log"


def _read(workspace: Workspace, name: Name) -> Server | None:
    try:
        return Server(**json.loads(_record(workspace, name).read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None
