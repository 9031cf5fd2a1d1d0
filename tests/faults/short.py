"""A search for faults that takes `make soak` its minutes, kept short for the suite."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from tests.conftest import ROOT
from tests.warm import warm


def search(module: str, *arguments: str) -> dict[str, Any]:
    """What `python -m tests.faults.MODULE ARGUMENTS` found. It ends with 1 where that is a fault."""
    command = [sys.executable, "-m", f"tests.faults.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=warm(os.environ), capture_output=True, text=True, timeout=540)
    assert done.returncode in (0, 1) and done.stdout, done.stdout + done.stderr[-5000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found
