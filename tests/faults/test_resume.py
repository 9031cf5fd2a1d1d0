"""Exact resume: killed trainings end with the bytes of undisturbed ones. The long version is `make soak`."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.conftest import TINY_RECIPE, Workspace, make_tiny
from tests.faults.short import search
from tests.faults.trainings import MOMENTS, SUBJECTS, planned
from tests.prefect_server import with_server
from tests.tiny_graph import until

pytestmark = pytest.mark.slow

COMMANDS = {"headrace": ["flows.cli", "run"], "dvc": ["dvc", "repro", "train@tiny"]}
SERVERS = ("prefect", "mlflow")  # warm on purpose


def test_a_seeded_sample_of_kills(tmp_path: Path) -> None:
    """Text and pictures, every method, three kills in a row each, at moments drawn from the seed."""
    found = search("trainings", str(tmp_path / "w"), "--tries", "6", "--seed", "11")
    tries = found["tries"]
    assert {tried["name"] for tried in tries if not tried["faults"]} == {
        "text-pretrain", "text-full", "text-lora", "text-transfer", "pictures-pretrain", "pictures-full",
    }, tries  # fmt: skip
    assert found["pairs"] >= len(tries), tries  # each at another moment
    assert found["kills"] >= 2 * len(tries), tries


def test_the_first_tries_go_through_every_subject_at_every_moment() -> None:
    plan = [planned(number) for number in range(len(SUBJECTS) * len(MOMENTS))]
    assert set(plan) == {(subject, moment) for subject in SUBJECTS for moment in MOMENTS}
    assert {subject for subject, _ in plan[:6]} == set(SUBJECTS)
    assert len({moment for _, moment in plan[:6]}) == 6
    assert planned(len(plan)) == (sorted(SUBJECTS)[0], None)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, str]]:
    """A workspace ready to train for some seconds, and the files of the model that comes of it undisturbed."""
    made = make_tiny(tmp_path_factory.mktemp("resume") / "prepared")
    dropout = TINY_RECIPE.replace("method: pretrain", "method: pretrain\n  dropout: 0.2")
    made.write("recipes/tiny.yaml", dropout.replace("epochs: 1", "epochs: 16, accumulate: 2, schedule: cosine"))
    done = made.dvc("repro", "preprocess@tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    undisturbed = copy(made, made.root.with_name("undisturbed"))
    done = undisturbed.dvc("repro", "train@tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    return made, undisturbed.hashes("data/models/tiny/model")


def copy(made: Workspace, root: Path) -> Workspace:
    shutil.copytree(made.root, root, symlinks=True)
    return replace(made, root=root, env={**made.env, "PYTHONPATH": str(root)})


@pytest.fixture
def workspace(prepared: tuple[Workspace, dict[str, str]], tmp_path: Path) -> Iterator[Workspace]:
    made = copy(prepared[0], tmp_path / "w")
    made.env |= with_server()
    yield made
    made.headrace("stop")


@pytest.mark.parametrize("whole_group", [False, True], ids=["driver", "group"])
@pytest.mark.parametrize("driver", COMMANDS)
def test_a_killed_driver_costs_time_only(
    workspace: Workspace, prepared: tuple[Workspace, dict[str, str]], driver: str, whole_group: bool
) -> None:
    command = [sys.executable, "-m", *COMMANDS[driver]]
    with workspace.path("said.txt").open("w") as said:
        process = subprocess.Popen(
            command, cwd=workspace.root, env=workspace.env, stdout=said, stderr=said, start_new_session=True
        )
        until(lambda: bool(list(workspace.path("var/checkpoints/tiny").glob("*/step-*"))))
        if whole_group:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        until(lambda: not strays(workspace), timeout_s=20)

    done = workspace.run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert workspace.hashes("data/models/tiny/model") == prepared[1]
    assert not list(workspace.path("var/checkpoints/tiny").glob("*"))
    with closing(sqlite3.connect(workspace.path("var/mlflow/mlflow.db"))) as store:
        trainings = store.execute(
            "SELECT r.status FROM runs r JOIN experiments e USING (experiment_id) WHERE e.name = 'tiny'"
        ).fetchall()
    assert trainings == [("FINISHED",)], "it went on in its run"
    assert "train@tiny" not in workspace.dvc("status", "train@tiny").stdout


def strays(workspace: Workspace) -> list[str]:
    """Processes that work in this folder, its servers aside."""
    found = []
    for process in psutil.process_iter(["cwd", "cmdline", "status"]):
        facts = process.info
        command = " ".join(facts["cmdline"] or [])
        if facts["cwd"] == str(workspace.root) and not any(server in command for server in SERVERS):
            found.append(f"{process.pid} {command}")
    return found
