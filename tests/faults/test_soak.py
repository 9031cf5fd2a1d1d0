"""A short, seeded soak: kills over all stages of a recipe and an index, and nothing to mend by hand afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_after_any_kill_the_next_run_finishes_by_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.soak", str(tmp_path), "--kills", "4", "--seed", "5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stdout + done.stderr[-5000:]
    found = json.loads(done.stdout)
    assert (found["faults"], found["kills"] >= 4) == (0, True), found
