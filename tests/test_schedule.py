"""Schedules: served, fired by themselves, committed and pushed; and commits of exactly what a run moved."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from ruamel.yaml import YAML

from core.atomic_files import write_json
from core.errors import BadRequest, HeadraceError
from core.schema.schedule import Schedule
from core.workspace import Workspace
from flows.run.commit import Kept, commit_and_push
from flows.schedule.missed import schedule_of
from flows.schedule.run_line import came_of, line
from flows.schedule.scheduler import serve
from flows.servers.turns import only_one
from tests.prefect_server import only_schedulers, start_scheduler
from tests.test_notices import Inbox, inbox
from tests.tiny_graph import TinyGraph, make_tiny_graph, until

__all__ = ["inbox"]  # a fixture

RECIPE = """\
task: text_classification
data: {source: rows-a.csv, columns: {text: text, label: label}}
model: {base: {architecture: bert}, method: pretrain}
schedule: {cron: "* * * * *", timezone: Europe/Berlin, push: true}
"""
GATE = {"gate": "accuracy", "passed": False, "why": "on the test split", "value": 0.1, "bound": "at least 0.8"}
REFUSED = {"experiment": "x", "aliases": [], "verdict": {"passed": False, "reasons": [GATE]}}
WHY = "accuracy: 0.1000, bound at least 0.8 (on the test split)"


@pytest.fixture(scope="module", autouse=True)
def alone() -> Iterator[None]:
    with only_schedulers():
        yield


@pytest.fixture
def tiny(tmp_path: Path) -> TinyGraph:
    tiny = make_tiny_graph(tmp_path / "w", recipes=("a", "b"))
    tiny.write("recipes/a.yaml", RECIPE)
    tiny.write("rows-a.csv", "text,label\\nfine,pos\\n")
    tiny.git("add", "-A")
    tiny.git("commit", "-qm", "a recipe")
    return tiny


def files_of(tiny: TinyGraph, commit: str) -> list[str]:
    return tiny.git("show", "--name-only", "--format=", commit).split()


def test_commits_what_moved_and_nothing_else(tiny: TinyGraph) -> None:
    tiny.write("dvc.lock", "schema: '2.0'\nstages: {}\n")
    tiny.write("recipes/a.lock", "source: {kind: path}\n")
    tiny.write("recipes/b.lock", "source: {kind: path}\n")
    tiny.write("step.py", "# changed\n")
    tiny.write("staged.txt", "x")
    tiny.git("add", "staged.txt")
    kept = commit_and_push(tiny.workspace, "recipe", ["a"])
    assert kept.commit == tiny.git("rev-parse", "HEAD")
    assert sorted(files_of(tiny, "HEAD")) == ["dvc.lock", "recipes/a.lock"] == sorted(kept.files)
    assert tiny.git("status", "--porcelain").splitlines() == ["M step.py", "A  staged.txt", "?? recipes/b.lock"] or (
        set(tiny.git("status", "--porcelain").split()) == {"M", "step.py", "A", "staged.txt", "??", "recipes/b.lock"}
    )
    assert commit_and_push(tiny.workspace, "recipe", ["a"]) == Kept()


def test_commits_all_that_makes_a_state_to_check_out_and_names_what_it_lacks(tiny: TinyGraph) -> None:
    """Of params.yaml the own entry alone: somebody else's is at work on another recipe, and has staged half of it."""
    live = {"recipes": {"b": {"task": "none", "watch": "rows-b.txt"}}, "indexes": {}}
    tiny.write("params.yaml", json.dumps(live))
    tiny.git("rm", "-q", "--cached", "recipes/a.yaml")
    tiny.git("commit", "-qam", "a is not live yet")
    live["recipes"] |= {"a": {"task": "none", "watch": "rows-a.txt"}, "c": {"task": "none", "watch": "rows-c.txt"}}
    tiny.write("params.yaml", json.dumps(live, indent=1))
    tiny.write("recipes/c.yaml", "task: none\n")
    tiny.git("add", "recipes/c.yaml")
    tiny.write("recipes/a.lock", "source: {kind: path}\n")
    for path in ("rows-a.txt", "rows-b.txt", "dvc.yaml"):
        tiny.write(path, (tiny.root / path).read_text() + "\n")
    assert tiny.dvc("repro", "join@a").returncode == 0
    kept = commit_and_push(tiny.workspace, "recipe", ["a"])
    assert sorted(files_of(tiny, "HEAD")) == ["dvc.lock", "params.yaml", "recipes/a.lock", "recipes/a.yaml"]
    committed = YAML(typ="safe").load(tiny.git("show", "HEAD:params.yaml"))
    assert committed == {**live, "recipes": {name: live["recipes"][name] for name in "ab"}}
    assert kept.left == ("dvc.yaml", "rows-a.txt")
    assert tiny.git("show", "-s", "--format=%b").split()[-2:] == ["dvc.yaml", "rows-a.txt"]
    state = tiny.git("status", "--porcelain").splitlines()
    assert {"A  recipes/c.yaml", " M params.yaml", " M rows-b.txt"} < set(state)
    assert json.loads((tiny.root / "params.yaml").read_text()) == live
    tiny.git("checkout", "--", "params.yaml")
    assert commit_and_push(tiny.workspace, "recipe", ["a"]) == Kept()


def test_without_remotes_a_push_is_none(tiny: TinyGraph) -> None:
    tiny.dvc("repro")
    kept = commit_and_push(tiny.workspace, "recipe", ["a"], push=True)
    assert kept.commit is not None
    assert (kept.dvc_pushed, kept.git_pushed) == (None, None)


def test_gits_refusal_is_said_in_its_words(tiny: TinyGraph) -> None:
    tiny.write("dvc.lock", "schema: '2.0'\nstages: {}\n")
    tiny.write(".git/hooks/pre-commit", "#!/bin/sh\necho not on a Friday >&2\nexit 1\n")
    (tiny.root / ".git/hooks/pre-commit").chmod(0o755)
    with pytest.raises(HeadraceError, match=r"`git commit` .* not on a Friday"):
        commit_and_push(tiny.workspace, "recipe", ["a"])


def test_reads_schedules_and_refuses_a_second_scheduler(tiny: TinyGraph) -> None:
    found = schedule_of(tiny.workspace.job("recipe", "a"))
    assert found == Schedule(cron="* * * * *", timezone="Europe/Berlin", push=True)
    with (
        only_one(tiny.workspace, "schedule", command="headrace schedule"),
        pytest.raises(BadRequest, match=rf"scheduler already: process {os.getpid()} \(`headrace schedule`"),
    ):
        serve(tiny.workspace)


def ended(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return out + err


def automations() -> list[Any]:
    from prefect.client.orchestration import get_client

    from flows.schedule.scheduled_flow import AUTOMATION

    with get_client(sync_client=True) as client:
        return list(client.read_automations_by_name(AUTOMATION))


@pytest.mark.parametrize("cron", ["30 2 * * *", "0 3 * * *", "0 0 * * *"])
@pytest.mark.parametrize("change", [datetime(2026, 3, 29), datetime(2026, 10, 25)])  # Berlin's, at two and at three
def test_a_night_has_one_run_when_the_clocks_change_too(cron: str, change: datetime) -> None:
    """By the server's own reckoning; 2:30 does not exist in March, and exists twice in October."""
    from prefect.server.schemas.schedules import CronSchedule

    start = (change - timedelta(days=2)).replace(tzinfo=ZoneInfo("Europe/Berlin"))
    times = asyncio.run(CronSchedule(cron=cron, timezone="Europe/Berlin").get_dates(n=5, start=start))
    assert [time.date() for time in times] == [(start + timedelta(days=day)).date() for day in range(5)]


@pytest.mark.parametrize(
    ("before", "receipt", "says"),
    [
        ("2", {"version": "3", "aliases": ["champion"]}, "new champion version 3, accuracy 0.8200"),
        ("2", {"version": "3", "aliases": []}, "new version 3; the champion stays, accuracy 0.8200"),
        (
            "2",
            {"version": "3", "aliases": [], "approval": "asked"},
            "new version 3, which waits for a person's approval",
        ),
        ("3", {"version": "3", "aliases": ["champion"]}, "up to date, version 3 as before"),
        (None, {"version": None, "experiment": "x", "aliases": []}, "up to date"),
    ],
)
def test_a_line_says_what_came_of_a_run(tmp_path: Path, before: str | None, receipt: Any, says: str) -> None:
    job = Workspace(tmp_path).job("recipe", "a")
    settings = {"evaluation": {"primary": "accuracy"}, "task": "text_classification"}
    for file, content in {
        "registered.json": {"verdict": {"passed": True, "reasons": []}, **receipt},
        "settings.json": settings, "evaluation/metrics.json": {"accuracy": 0.82},
    }.items():  # fmt: skip
        write_json(job.folder / file, content)
    assert came_of(job, {"version": before} if before else None).startswith(says)
    refused = line(job, "REFUSED", f"{WHY}\nand more")
    assert refused.endswith(f"  recipe a: REFUSED: {WHY}")


def test_the_log_of_a_run_has_no_traceback_beside_its_state() -> None:
    from prefect.exceptions import FailedRun

    from flows.schedule.scheduled_flow import _more_than_the_state

    def logged(error: Exception) -> logging.LogRecord:
        return logging.LogRecord("prefect.flow_runs", logging.ERROR, "", 0, "", (), (type(error), error, None))

    assert not _more_than_the_state(logged(FailedRun("accuracy: 0.1")))
    assert _more_than_the_state(logged(ValueError("a fault of ours")))


@pytest.mark.slow
def test_a_schedule_fires_by_itself_commits_and_pushes(tiny: TinyGraph, tmp_path: Path) -> None:
    tiny.git("init", "-q", "--bare", "-b", "main", str(tmp_path / "bare.git"))
    tiny.git("remote", "add", "origin", str(tmp_path / "bare.git"))
    tiny.dvc("remote", "add", "-d", "disk", str(tmp_path / "disk"))
    tiny.git("commit", "-qam", "a remote")
    tiny.write("params.yaml", '{"recipes": {"a": {"task": "none", "watch": "rows-a.csv"}}, "indexes": {}}')
    process = start_scheduler(tiny.root)
    try:
        until(
            lambda: process.poll() is not None or "what the run moved" in tiny.git("log", "--format=%s"), timeout_s=180
        )
        until(lambda: "main" in tiny.git("ls-remote", "origin"), timeout_s=60)
    finally:
        said = ended(process)
    assert "recipe a: * * * * * Europe/Berlin, then commits and pushes" in said
    assert re.search(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d  recipe a: up to date; commit [0-9a-f]{10} \(params.yaml, ", said)
    assert sorted(files_of(tiny, "HEAD")) == ["dvc.lock", "params.yaml", "recipes/a.lock"]
    assert tiny.git("ls-remote", "origin", "main").split()[0] == tiny.git("rev-parse", "HEAD")
    assert len([file for file in (tmp_path / "disk").rglob("*") if file.is_file()]) >= 3
    assert "up to date" in tiny.dvc("status").stdout
    assert len(automations()) == 1


@pytest.mark.slow
def test_serves_without_anything_live_and_makes_its_automation_once(tiny: TinyGraph) -> None:
    tiny.write("params.yaml", '{"recipes": {}, "indexes": {}}')
    for _ in range(2):
        process = start_scheduler(tiny.root)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Nothing is live.")
        assert process.stderr.readline().startswith("Prefect page: http://127.0.0.1:")
        assert process.poll() is None
        ended(process)
        assert process.returncode == 0
    (found,) = automations()
    assert found.trigger.posture.value == "Proactive"


@pytest.mark.slow
def test_a_killed_scheduler_goes_on_with_one_run_for_all_missed_slots(tiny: TinyGraph, tmp_path: Path) -> None:
    """Three slots passed while it was dead, and the run that died with it still counts as running on the server.

    They were made by a version whose runs named their workspace; and somebody planted one that names a folder of his.
    """
    from prefect.client.orchestration import get_client
    from prefect.states import Running, Scheduled

    tiny.write("recipes/a.yaml", RECIPE.replace("* * * * *", "0 0 1 1 *").replace(", push: true", ""))
    tiny.write("params.yaml", '{"recipes": {"a": {"task": "none", "watch": "rows-a.csv"}}, "indexes": {}}')
    killed = start_scheduler(tiny.root, forked=False)
    with get_client(sync_client=True) as client:
        until(lambda: killed.poll() is not None or deployment(client, tiny) is not None)
        assert killed.poll() is None, ended(killed)
        killed.kill()
        killed.communicate()
        found = deployment(client, tiny)
        now = datetime.now(UTC)
        evil, named = make_tiny_graph(tmp_path / "evil", recipes=("a",)), {"workspace": str(tiny.root)}
        lost = client.create_flow_run_from_deployment(found.id, parameters=named, state=Running())
        missed = [
            client.create_flow_run_from_deployment(
                found.id, parameters=named, state=Scheduled(scheduled_time=now - timedelta(hours=hours)),
                tags=["auto-scheduled"],
            )
            for hours in (3, 2, 1)
        ]  # fmt: skip
        planted = client.create_flow_run_from_deployment(found.id, parameters={"workspace": str(evil.root)})

        def states(*runs: Any) -> list[str]:
            return [str(client.read_flow_run(run.id).state.type.value) for run in runs or (lost, *missed)]  # type: ignore[union-attr]

        began = time.monotonic()
        again = start_scheduler(tiny.root)
        try:
            until(lambda: "COMPLETED" in states(), timeout_s=100)
            took = time.monotonic() - began
            until(lambda: not {"SCHEDULED", "PENDING", "RUNNING"} & set(states()))
            until(lambda: states(planted)[0] in ("FAILED", "CRASHED"), timeout_s=60)
        finally:
            ended(again)
        assert not evil.notes("began") and not (evil.root / "data").exists()
        assert states()[0] == "CRASHED"
        assert sorted(states()[1:]) == ["CANCELLED", "CANCELLED", "COMPLETED"]
        assert took < 60


@pytest.mark.slow
def test_missed_slots_and_a_refusal_are_told(tiny: TinyGraph, inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots at the start and after a sleep. The refused run is red, in the terminal, and in the notice."""
    from prefect.client.orchestration import get_client
    from prefect.states import Scheduled

    tiny.write("recipes/a.yaml", RECIPE.replace("* * * * *", "0 0 1 1 *").replace(", push: true", ""))
    tiny.write("params.yaml", '{"recipes": {"a": {"task": "none", "watch": "rows-a.csv"}}, "indexes": {}}')
    note = tiny.root / "var" / "slots" / "recipe-a.json"
    monkeypatch.setenv("DVC_EXP_NAME", "x")  # a receipt that needs no registry
    long_ago = json.dumps({"served": "2024-06-01T00:00:00+00:00", "schedule": "0 0 1 1 * Europe/Berlin"})
    tiny.write("var/slots/recipe-a.json", long_ago)
    process = start_scheduler(tiny.root)
    with get_client(sync_client=True) as client:
        try:
            until(lambda: process.poll() is not None or deployment(client, tiny) is not None)
            assert len(inbox.messages) == 1
            for count in (2, 2):  # the second run finds nothing missed
                found = deployment(client, tiny)
                note.write_text(long_ago if count > len(inbox.messages) else note.read_text())
                notices = tiny.root / "var" / "notices" / "a.json"
                notices.unlink(missing_ok=True)  # as a good run does
                late: Any = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(hours=1))
                run = client.create_flow_run_from_deployment(found.id, state=late, tags=["auto-scheduled"])
                until(lambda run=run: client.read_flow_run(run.id).state.is_final(), timeout_s=100)  # type: ignore[misc, union-attr]
                assert len(inbox.messages) == count
            tiny.write("data/models/a/registered.json", json.dumps(REFUSED))
            run = client.create_flow_run_from_deployment(deployment(client, tiny).id)
            until(lambda: client.read_flow_run(run.id).state.is_final(), timeout_s=100)  # type: ignore[union-attr]
            state: Any = client.read_flow_run(run.id).state
        finally:
            said = ended(process)
    assert (state.type.value, state.name, state.message) == ("FAILED", "Refused", WHY)
    assert f"  recipe a: REFUSED: {WHY}\n" in said
    assert inbox.messages.pop()["title"] == "Headrace: recipe a was refused by its gates"
    assert "recipe a: 2 slots of 0 0 1 1 * Europe/Berlin passed since 2025-01-01 00:00 and no run began" in said
    assert {message["title"] for message in inbox.messages} == {"Headrace: recipe a missed its schedule"}


def deployment(client: Any, tiny: TinyGraph) -> Any:
    """The deployment of this workspace's recipe: another test's scheduler may have left its own under the same name."""
    from prefect.exceptions import ObjectNotFound

    from flows.schedule.scheduled_flow import tag_of

    try:
        found = client.read_deployment_by_name("headrace-scheduled/recipe-a")
    except ObjectNotFound:
        return None
    return found if tag_of(tiny.workspace) in found.tags else None
