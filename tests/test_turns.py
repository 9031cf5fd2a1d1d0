"""Locks that say who holds them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.workspace import Workspace
from flows.servers.turns import holder, only_one, turns
from tests.tiny_graph import until

HOLD = (
    "import sys, time; from pathlib import Path; from flows.servers.turns import turns\n"
    "from core.workspace import Workspace\n"
    "with turns(Workspace(Path(sys.argv[1])), [('recipe', 'a')], command='headrace run a', say=print):\n"
    "    print('held', flush=True); time.sleep(float(sys.argv[2]))\n"
)


def hold(folder: Path, seconds: float) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(seconds)], env=env, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_held_turn_is_waited_for_and_names_its_holder(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    other = hold(tmp_path, 1.0)
    seen = holder(workspace, "recipe", "a")
    assert seen is not None
    assert (seen.pid, seen.command) == (other.pid, "headrace run a")
    said: list[str] = []
    with turns(workspace, [("recipe", "a"), ("index", "a")], command="x", say=said.append) as waited:
        assert waited
        assert other.wait() == 0
    assert len(said) == 1
    assert said[0].startswith(f"a: waiting for process {other.pid} (`headrace run a`, since ")
    assert holder(workspace, "recipe", "a") is None


def test_a_killed_holder_frees_its_turn(tmp_path: Path) -> None:
    other = hold(tmp_path, 60)
    other.kill()
    until(lambda: holder(Workspace(tmp_path), "recipe", "a") is None)
    with turns(Workspace(tmp_path), [("recipe", "a")], command="x", say=pytest.fail) as waited:
        assert not waited


def test_only_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    with only_one(workspace, "schedule", command="first") as none:
        assert none is None
        with only_one(workspace, "schedule", command="second") as other:
            assert other is not None and other.command == "first"
