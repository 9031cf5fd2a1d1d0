"""One real Prefect server for the whole suite: started by the first test that needs it, ended with the suite."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from core.workspace import Workspace
from flows.servers import local, servers


@cache
def prefect_server() -> str:
    """Its API; from here on it is PREFECT_API_URL of this process and of all that it starts, with its key."""
    os.environ.pop("PREFECT_API_URL", None)
    workspace = prefect_place()
    folder = workspace.root

    def end() -> None:
        for variable in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
            os.environ.pop(variable, None)
        servers.stop(workspace)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    api = servers.prefect_api(workspace)
    server = local.running(workspace, "prefect")
    assert server is not None
    os.environ["PREFECT_API_URL"] = api
    os.environ["PREFECT_API_AUTH_STRING"] = server.credentials
    os.environ["PREFECT_HOME"] = str(folder / "var" / "prefect")
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    return api


@cache
def prefect_place() -> Workspace:
    """The workspace whose server it is."""
    return Workspace(Path(tempfile.mkdtemp(prefix="headrace-prefect-")))


def with_server() -> dict[str, Any]:
    """What a command needs to be its client."""
    return {"PREFECT_API_URL": prefect_server(), "PREFECT_API_AUTH_STRING": os.environ["PREFECT_API_AUTH_STRING"]}
