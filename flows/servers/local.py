"""The local servers of a workspace as processes: started, found again, believed only while their port is theirs, ended.

What runs is flows/servers/gateway.py. It binds its port before it writes down which, in var/servers/NAME.json, a file
of the owner's alone. So no other user of the machine can take a port that was announced, nor be taken for a server.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import psutil

from core.atomic_files import make_folder, to_json, write_private
from core.errors import Outage
from core.workspace import Workspace

Name = Literal["prefect", "mlflow"]
USER = "headrace"  # of the clients' user name and password
_HOST = "127.0.0.1"
_START_TIMEOUT_S = 120.0  # a cold start takes 10 to 25 s on two cores
_HEALTH_TIMEOUT_S = 5.0
_END_TIMEOUT_S = 10.0
_OK, _TAKEN = 200, 204
_SAME_START_S = 0.01  # psutil's resolution of a process's start
QUIET = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # four idle queue workers of its own, for features not used here
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# What names and opens a server of the user's is not for ours to read.
_USERS = ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING")


@dataclass(frozen=True)
class Server:
    """A server process of this workspace; `created` tells it from a later process with the same id.

    host: the name under which its page opens in a browser. key: of its clients. token: of the link that opens the page.
    All three are random, and new at each start. An earlier version's record has none of them.
    """

    pid: int
    created: float  # seconds since the epoch
    port: int
    host: str = ""
    key: str = ""
    token: str = ""

    @property
    def url(self) -> str:
        """Its address for clients."""
        return f"http://{_HOST}:{self.port}"

    @property
    def page(self) -> str:
        """Its address for browsers, as it may be recorded."""
        return f"http://{self.host}:{self.port}"

    @property
    def credentials(self) -> str:
        """User and password of its clients, joined by a colon."""
        return f"{USER}:{self.key}"

    @property
    def authorization(self) -> str:
        return f"Basic {base64.b64encode(self.credentials.encode()).decode()}"

    def link(self, address: str) -> str:
        """An address below its page that opens by one click; any other as it is."""
        if not (address + "/").startswith(self.page + "/"):
            return address
        before, mark, fragment = address.partition("#")
        before += "/" if before == self.page else ""
        return f"{before}{'&' if '?' in before else '?'}token={self.token}{mark}{fragment}"

    def process(self) -> psutil.Process | None:
        """The process, unless it ended or its id belongs to another one now."""
        try:
            process = psutil.Process(self.pid)
            ours = abs(process.create_time() - self.created) <= _SAME_START_S
            return process if ours and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    def listens(self) -> bool:
        """Whether this very process, of this user, listens on the port: nobody else is asked, or told the key."""
        process = self.process()
        if process is None or not self.key:
            return False
        with contextlib.suppress(psutil.Error):
            ports = process.net_connections(kind="tcp4")
            listens = any(each.status == psutil.CONN_LISTEN and each.laddr == (_HOST, self.port) for each in ports)
            return listens and process.uids().real == os.getuid()
        return False

    def works_in(self, folder: Path) -> bool:
        """Whether the process was started in this folder, wherever that was moved since; a copy is another folder."""
        process = self.process()
        with contextlib.suppress(psutil.Error, OSError):
            return process is not None and Path(process.cwd()).samefile(folder)
        return False

    def serves(self, root: Path) -> bool:
        """Whether the process was told this path of the workspace: it opens its files by it, time and again."""
        process = self.process()
        with contextlib.suppress(psutil.Error):
            return process is not None and process.cmdline()[-1:] == [str(root)]
        return False

    def healthy(self, path: str) -> bool:
        return self._asked("GET", path) == _OK

    def post(self, path: str, document: object) -> bool:
        """Whether the server took a JSON document."""
        return self._asked("POST", path, document) in (_OK, _TAKEN)

    def _asked(self, method: str, path: str, document: object = None) -> int | None:
        """The status that it answers with; None where it does not answer."""
        asked = http.client.HTTPConnection(_HOST, self.port, timeout=_HEALTH_TIMEOUT_S)  # never by way of a proxy
        headers = {"Authorization": self.authorization}
        body = None if document is None else json.dumps(document)
        try:
            asked.request(
                method, path, body, headers if body is None else {**headers, "Content-Type": "application/json"}
            )
            return asked.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            asked.close()


def running(workspace: Workspace, name: Name) -> Server | None:
    """The server of this workspace, if it is up and its port is its own.

    None for one that was started before the workspace was moved, and for that of the workspace which this is a copy of.
    """
    server = _read(workspace, name)
    if server is None or not (server.listens() and server.serves(workspace.root)):
        return None
    return server if server.works_in(workspace.var / name) else None


def started(workspace: Workspace, name: Name) -> Server:
    """The server of this workspace, started unless it is up; its page may take a while to answer.

    One process at a time. Raises Outage when it does not start.
    """
    if (server := running(workspace, name)) is not None:
        return server
    end(workspace, name)  # one of an earlier version, which lets everybody in, or of before the workspace was moved
    log = log_file(workspace, name)
    make_folder(log.parent)
    make_folder(workspace.var / name)
    with log.open("wb") as out:
        process = subprocess.Popen(
            # -P: this code, not the folder's
            [sys.executable, "-P", "-m", "flows.servers.gateway", name, str(workspace.root)],
            cwd=workspace.var / name, env=_environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    return _announced(workspace, name, process)


def await_answer(workspace: Workspace, name: Name, server: Server, path: str) -> None:
    """Raises Outage when it ends, or takes too long."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not server.healthy(path):
        if server.process() is None or time.monotonic() > deadline:
            raise _did_not_start(workspace, name)
        time.sleep(0.1)


def end(workspace: Workspace, name: Name) -> bool:
    """End it and its children, and forget it. Whether it ran. One that works in another folder is only forgotten."""
    server = _read(workspace, name)
    process = server.process() if server and server.works_in(workspace.var / name) else None
    if process is not None:
        with contextlib.suppress(psutil.NoSuchProcess):
            end_all([process, *process.children(recursive=True)], signal.SIGTERM, _END_TIMEOUT_S)
    record(workspace, name).unlink(missing_ok=True)
    return process is not None


def announce(workspace: Workspace, name: Name, server: Server) -> None:
    """Called by the server itself, once its port is bound."""
    write_private(record(workspace, name), to_json(asdict(server)))


def record(workspace: Workspace, name: Name) -> Path:
    return workspace.var / "servers" / f"{name}.json"


def log_file(workspace: Workspace, name: Name) -> Path:
    return workspace.var / "logs" / f"{name}.log"


def _environment() -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if key not in _USERS}
    code = str(Path(__file__).parents[2])
    return {**env, **QUIET, "PYTHONPATH": os.pathsep.join(filter(None, [code, env.get("PYTHONPATH")]))}


def _announced(workspace: Workspace, name: Name, process: subprocess.Popen[bytes]) -> Server:
    """Wait until the process has bound its port and said which."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while (server := _read(workspace, name)) is None or server.pid != process.pid:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise _did_not_start(workspace, name)
        time.sleep(0.02)
    return server


def _did_not_start(workspace: Workspace, name: Name) -> Outage:
    title, variable = {"prefect": ("Prefect", "PREFECT_API_URL"), "mlflow": ("MLflow", "MLFLOW_TRACKING_URI")}[name]
    return Outage(
        f"the local {title} server did not start; its last words are in {log_file(workspace, name)}. "
        f"`headrace stop`, then run again, or name a server of yours in {variable}."
    )


def end_all(processes: Sequence[psutil.Process], how: signal.Signals, grace_s: float) -> None:
    """Send them a signal, and kill those that stay."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(how)
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def _read(workspace: Workspace, name: Name) -> Server | None:
    try:
        return Server(**json.loads(record(workspace, name).read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):
        return None
