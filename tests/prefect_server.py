"""One real Prefect server for the whole suite: started by the first test that needs it, ended with the suite."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

from core.file_locks import locked
from core.workspace import Workspace
from flows.servers import local, servers
from tests.warm import FOLDER, warm


@cache
def prefect_server() -> str:
    """Its API; from here on it is PREFECT_API_URL of this process and of all that it starts, with its key.

    The workers of a suite share it, so a test looks for its own runs and deployments only.
    """
    os.environ.pop("PREFECT_API_URL", None)
    workspace = prefect_place()
    give_prefect_database(workspace.root)
    api = servers.prefect_api(workspace)
    server = local.running(workspace, "prefect")
    assert server is not None
    os.environ["PREFECT_API_URL"] = api
    os.environ["PREFECT_API_AUTH_STRING"] = server.credentials
    os.environ["PREFECT_HOME"] = str(workspace.var / "prefect")
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    return api


def prefect_place() -> Workspace:
    """The workspace whose server it is."""
    return Workspace(Path(os.environ[FOLDER]) / "w")


def only_schedulers() -> AbstractContextManager[None]:
    """While it lasts no other worker's test has a scheduler at the server, which makes what all of them share."""
    return locked(Path(os.environ[FOLDER]), "schedulers")


def start_scheduler(root: Path, *, forked: bool = True) -> subprocess.Popen[str]:
    """`headrace schedule` in a workspace, at the suite's server. forked: by tests/warm."""
    prefect_server()
    code = (
        "from pathlib import Path; from flows.schedule.scheduler import serve; from core.workspace import Workspace; "
        "serve(Workspace(Path.cwd()))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=root, env=warm(env) if forked else env, text=True,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def end_prefect_server() -> None:
    """With the suite."""
    for variable in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        os.environ.pop(variable, None)
    if prefect_place().root.exists():
        servers.stop(prefect_place())


def with_server() -> dict[str, Any]:
    """What a command needs to be its client. All workers ask this server: a command waits when it is busy."""
    api = prefect_server()
    key = os.environ["PREFECT_API_AUTH_STRING"]
    return {"PREFECT_API_URL": api, "PREFECT_API_AUTH_STRING": key, "HEADRACE_PATIENCE_S": "30"}


def give_prefect_database(root: Path) -> None:
    """A database that no server has used yet, for the server of a workspace: to make it takes 10 s of CPU.

    It is made once a suite; outside of one the server makes its own, as a user's does.
    """
    if FOLDER not in os.environ:
        return
    folder, given = Path(os.environ[FOLDER]), root / "var" / "prefect" / "prefect.db"
    made, ready = folder / "made.db", folder / "prefect.db"
    with locked(folder, "prefect"):
        if not ready.exists():
            env = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")}
            env["PREFECT_API_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{made}"
            env["PREFECT_HOME"] = str(folder / "prefect")
            migrate = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
            subprocess.run(migrate, env=env, check=True, capture_output=True)
            made.rename(ready)
        if not given.exists():  # the suite's server may be at work on its own
            given.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ready, given)
