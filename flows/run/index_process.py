"""`headrace index NAME --json` as a process: what `headrace serve` starts when it is asked to."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import IO

from core.workspace import Workspace
from flows.graph.dvc import own_code_last


def index_process(workspace: Workspace, name: str, out: IO[bytes], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C for the server is the server's; SIGTERM ends it with its stages."""
    env = {**os.environ, "PYTHONPATH": own_code_last(os.environ)}
    return subprocess.Popen(
        # -P: this code, not the workspace's
        [sys.executable, "-P", "-m", "flows.cli", "index", name, "--json"],
        cwd=workspace.root, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True,
    )  # fmt: skip
