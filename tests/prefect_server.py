"""One real Prefect server for the whole suite: started by the first test that needs it, ended with the suite."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from core.workspace import Workspace
from flows.servers import servers


@cache
def prefect_server() -> str:
    """Its API; from here on it is PREFECT_API_URL of this process and of all that it starts."""
    os.environ.pop("PREFECT_API_URL", None)
    folder = Path(tempfile.mkdtemp(prefix="headrace-prefect-"))
    workspace = Workspace(folder)

    def end() -> None:
        os.environ.pop("PREFECT_API_URL", None)
        servers.stop(workspace)
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    api = servers.prefect_api(workspace)
    os.environ["PREFECT_API_URL"] = api
    os.environ["PREFECT_HOME"] = str(folder / "var" / "prefect")
    os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "CRITICAL"
    return api
