"""Commands and stages forked from a process that has imported their libraries: seconds each, spent once a suite.

`warm(env)` is the environment for a command that may be forked so, and its stages. An interpreter started with it as
`python -m flows.cli|dvc|pipelines.STAGE|tests.faults.NAME ...` or `python -c CODE` (by a test, by DVC, by a worker)
hands its arguments, environment, folder and streams to the server and ends with the exit code it answers:
tests/warm/client/sitecustomize.py says which. The workspace's own code is imported anew each time; only libraries are
shared. SIGINT and SIGTERM are passed on, and who is killed takes its session along: what a test kills to see what
becomes of its children, what it measures, or starts to see another hash seed is started without it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from core.file_locks import locked

FOLDER = "HEADRACE_TEST_WARM"  # where this suite's server has its socket; unset: stages are started as everywhere else
SUITE = "HEADRACE_TEST_SUITE"  # the process whose end is the server's
PYTHON = sys.executable  # one that imports for itself, also where `warm_children` is used
_CLIENT = Path(__file__).parent / "client"


def warm(env: Mapping[str, str]) -> dict[str, str]:
    """`env`, with stages forked from the suite's server, which the first call starts; as it is outside of a suite."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return dict(env)
    path = os.pathsep.join(filter(None, [str(_CLIENT), env.get("PYTHONPATH")]))
    return {**env, "PYTHONPATH": path, FOLDER: _ready(Path(folder))}


def warm_python() -> str:
    """An interpreter that hands itself over as `warm` has it, whatever its environment says; only in a suite."""
    return str(Path(_ready(Path(os.environ[FOLDER]))) / "python")


@cache
def _ready(folder: Path) -> str:
    """Start the server unless another worker of this suite has, and wait until it answers."""
    with locked(folder, "warm"):
        if not (folder / "socket").exists():
            python = folder / "python"
            python.write_text(f'#!/bin/sh\nPYTHONPATH="{_CLIENT}${{PYTHONPATH:+:$PYTHONPATH}}" exec "{PYTHON}" "$@"\n')
            python.chmod(0o755)
            env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
            # Memory in huge pages: a fork copies a table of pages, and takes a third less for it.
            env |= {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
            with (folder / "log").open("w") as log:
                server = subprocess.Popen(
                    [PYTHON, "-P", str(Path(__file__).parent / "server.py"), str(folder / "socket")],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=env,
                    start_new_session=True,
                )  # fmt: skip
            assert server.stdout is not None
            if server.stdout.readline() != b"ready\n":
                raise RuntimeError((folder / "log").read_text())
    return str(folder)
