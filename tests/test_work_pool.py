"""prefect.yaml: its own commands, typed in order, deploy a recipe and run it on a worker that holds the workspace."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT, Workspace
from tests.prefect_server import with_server

pytestmark = pytest.mark.slow

FILE = ROOT / "prefect.yaml"


def commands() -> list[str]:
    """What its head says to type, with the worker last: here it ends after the run that is due."""
    said = re.findall(r"^#   (prefect [^#\n]*?) *(?:#.*)?$", FILE.read_text(encoding="utf-8"), re.MULTILINE)
    (worker,) = (line for line in said if " worker " in line)
    return [*(line for line in said if line != worker), f"{worker} --run-once"]


def cloned(tiny: Workspace) -> None:
    """Give the workspace a git and a DVC remote, and a prefect.yaml that deploys its recipe as ours does ours."""
    yaml = YAML()
    document: Any = yaml.load(FILE)
    (deployment,) = (each for each in document["deployments"] if each["parameters"]["kind"] == "recipe")
    deployment["name"] = deployment["parameters"]["name"] = "tiny"
    document["deployments"] = [deployment]
    with tiny.path("prefect.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    tiny.dvc("remote", "add", "-q", "-d", "store", str(tiny.root.parent / "store"))
    tiny.git("add", "-A")
    tiny.git("commit", "-qm", "a recipe")
    tiny.git("clone", "-q", "--bare", ".", str(origin(tiny)))
    tiny.git("remote", "add", "origin", str(origin(tiny)))
    tiny.git("fetch", "-q", "origin")
    tiny.git("branch", "-q", "--set-upstream-to=origin/main")


def origin(tiny: Workspace) -> Path:
    return tiny.root.parent / "origin.git"


def test_a_worker_pulls_runs_commits_and_pushes(tiny: Workspace) -> None:
    cloned(tiny)
    tiny.env |= {**with_server(), "PREFECT_HOME": os.environ["PREFECT_HOME"], "HEADRACE_WORKSPACE": str(tiny.root)}
    for command in commands():
        line = command.replace("film-reviews", "tiny").split()
        done = tiny.run(*line, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    pushed = subprocess.run(
        ["git", "show", "--name-only", "--format=%s", "main"],
        cwd=origin(tiny),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "dvc.lock" in pushed.splitlines(), pushed
    assert "in sync" in tiny.dvc("status", "--cloud").stdout
