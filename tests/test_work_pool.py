"""prefect.yaml: its own commands, typed in order, deploy a recipe and run it on a worker that holds the workspace.

What it committed and pushed is a state that another machine checks out and goes on from.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT, Workspace, environment
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
    tiny.git("add", "-A", "--", ".", ":!recipes", ":!params.yaml")  # the run commits these
    tiny.git("commit", "-qm", "rows")
    tiny.git("clone", "-q", "--bare", ".", str(origin(tiny)))
    tiny.git("remote", "add", "origin", str(origin(tiny)))
    tiny.git("fetch", "-q", "origin")
    tiny.git("branch", "-q", "--set-upstream-to=origin/main")


def origin(tiny: Workspace) -> Path:
    return tiny.root.parent / "origin.git"


def test_a_worker_pulls_runs_commits_and_pushes_a_state_to_go_on_from(tiny: Workspace) -> None:
    cloned(tiny)
    tiny.env |= {**with_server(), "PREFECT_HOME": os.environ["PREFECT_HOME"], "HEADRACE_WORKSPACE": str(tiny.root)}
    for command in commands():
        line = command.replace("film-reviews", "tiny").split()
        done = tiny.run(*line, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    assert "in sync" in tiny.dvc("status", "--cloud").stdout
    assert tiny.git("status", "--porcelain") == ""
    other = Workspace(tiny.root.parent / "other", environment(tiny.root.parent / "other") | with_server())
    subprocess.run(["git", "clone", "-q", str(origin(tiny)), str(other.root)], check=True)
    assert other.dvc("pull", "-q").returncode == 0
    try:
        done = other.headrace("run", "--json")
    finally:
        other.headrace("stop")
    assert done.returncode == 0, done.stderr
    ran = [stage["address"] for stage in json.loads(done.stdout)["stages"] if stage["state"] != "cached"]
    assert ran == ["register@tiny"]
    receipts = [json.loads(each.path("data/models/tiny/registered.json").read_text()) for each in (tiny, other)]
    assert receipts[0]["model_hash"] == receipts[1]["model_hash"]
    assert "champion" in receipts[1]["aliases"]
