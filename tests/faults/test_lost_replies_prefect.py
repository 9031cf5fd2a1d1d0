"""Replies of a real Prefect server dropped, delayed or failing: runs end as they do without, nothing stands twice."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest

from flows.graph.graph import Graph
from tests.conftest import ROOT, Workspace
from tests.faults.proxy import Proxy
from tests.prefect_server import prefect_server, with_server
from tests.tiny_graph import TinyGraph, make_tiny_graph, until
from tests.warm import warm

pytestmark = pytest.mark.slow

FAULTS = int(os.environ.get("TEST_FAULTS", "8"))  # each dropped reply costs Prefect's client 2 s and more
_HEADRACE_RUN = """
import sys
from pathlib import Path
from flows.cli import command as cli
from flows.run.run import run
from core.workspace import Workspace
cli.app = lambda **_: sys.exit(run(Workspace(Path.cwd()), "recipe").exit_code)
cli.main(["run"])
"""
STAGES = ["prepare", "left", "right", "join"]


def proxy(*, drop: float = 0.0, delay: float = 0.0, seed: int = 4) -> Proxy:
    return Proxy(prefect_server().removesuffix("/api"), drop=drop, delay=delay, seed=seed)


@pytest.fixture
def tiny_graph(tmp_path: Path) -> TinyGraph:
    """Its recipe has a name of its own: the suite's server holds other tests' runs."""
    return make_tiny_graph(tmp_path / "w", recipes=(f"r{uuid4().hex[:8]}",))


def name_of(graph: TinyGraph) -> str:
    (name,) = (node.name for node in Graph(graph.root).nodes if node.stage == "join")
    return name


def paged(read: Callable[[int], list[Any]]) -> list[Any]:
    """All that `read` gives from an offset on: Prefect answers with 200 at most."""
    found: list[Any] = []
    while page := read(len(found)):
        found += page
    return found


def flow_runs(name: str) -> list[Any]:
    """Those of a recipe, asked without the proxy."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        wanted = FlowRunFilter.model_validate({"name": {"any_": [name]}})
        read, order = client.read_flow_runs, FlowRunSort.START_TIME_ASC
        return paged(lambda offset: list(read(flow_run_filter=wanted, sort=order, limit=200, offset=offset)))


def runs_on_its_server(graph: TinyGraph) -> bool:
    """Whether the workspace's own server has a flow run that runs."""
    with closing(sqlite3.connect(f"file:{graph.root}/var/prefect/prefect.db?mode=ro", uri=True)) as database:
        (count,) = database.execute("SELECT count(*) FROM flow_run WHERE state_type = 'RUNNING'").fetchone()
    return bool(count)


def task_runs(runs: list[Any]) -> Counter[Any]:
    """How often each stage stands in each flow run, and in which state."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import TaskRunSort

    wanted = FlowRunFilter.model_validate({"id": {"any_": [run.id for run in runs]}})
    with get_client(sync_client=True) as client:
        read, order = client.read_task_runs, TaskRunSort.ID_DESC
        found = paged(lambda offset: list(read(flow_run_filter=wanted, sort=order, limit=200, offset=offset)))
    return Counter((task.flow_run_id, task.name, task.state_type and task.state_type.value) for task in found)


def artifacts(runs: list[Any]) -> Counter[Any]:
    """How often each stands in each flow run."""
    wanted = {"artifacts": {"flow_run_id": {"any_": [str(run.id) for run in runs]}}, "sort": "ID_DESC"}
    asked, key = f"{prefect_server()}/artifacts/filter", tuple(os.environ["PREFECT_API_AUTH_STRING"].split(":"))
    found = paged(lambda offset: list(httpx.post(asked, json={**wanted, "offset": offset}, auth=key).json()))  # type: ignore[arg-type]
    return Counter((each["flow_run_id"], each["key"]) for each in found)


def start(graph: TinyGraph, api: str | None) -> subprocess.Popen[str]:
    """`headrace run` over the tiny graph, which has no recipes to be read."""
    env = {key: value for key, value in os.environ.items() if key != "PREFECT_API_URL"}
    env |= {"PYTHONPATH": str(ROOT), **({"PREFECT_API_URL": api} if api else {})}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", _HEADRACE_RUN], cwd=graph.root, env=warm(env), text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def run(graph: TinyGraph, api: str) -> tuple[int, str]:
    """Its exit code, and what it said."""
    process = start(graph, api)
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


def check(runs: list[Any], addresses: list[str], count: int) -> None:
    """Every run Completed, with each of its stages and each of its artifacts once."""
    assert [run.state_type.value for run in runs] == ["COMPLETED"] * count
    right = {(run.id, address, "COMPLETED"): 1 for run in runs for address in addresses}
    until(lambda: task_runs(runs) == right, timeout_s=30)
    left = artifacts(runs)
    assert (set(left.values()), len(left)) == ({1}, 2 * count)  # the progress, and what became of the recipe


def test_lost_replies_double_nothing(tiny_graph: TinyGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run after another, until enough replies were lost."""
    prefect_server()
    monkeypatch.setenv("HEADRACE_PATIENCE_S", "120")
    name, number = name_of(tiny_graph), 0
    with proxy(drop=0.15, delay=0.1) as between:
        while between.done["dropped"] + between.done["delayed"] < FAULTS:
            number += 1
            tiny_graph.write(f"rows-{name}.txt", f"{number} of many")
            code, said = run(tiny_graph, f"{between.url}/api")
            assert code == 0, said
            assert "Traceback" not in said
            assert sorted(tiny_graph.ran()) == sorted(f"{stage}@{name}" for stage in STAGES)
            assert Graph(tiny_graph.root).stale([f"{stage}@{name}" for stage in STAGES]) == {}
    check(flow_runs(name), [f"{stage}@{name}" for stage in STAGES], number)


def test_a_real_recipe_is_registered_once(tiny: Workspace) -> None:
    env = with_server()
    with proxy(drop=0.15, delay=0.1, seed=5) as between:
        lossy: dict[str, Any] = {**env, "PREFECT_API_URL": f"{between.url}/api", "HEADRACE_PATIENCE_S": "120"}
        done = tiny.headrace("run", **lossy)
    assert done.returncode == 0, done.stdout + done.stderr
    assert between.done["dropped"] >= 1
    assert "up to date" in tiny.dvc("status").stdout
    receipt = json.loads(tiny.path("data/models/tiny/registered.json").read_text())
    assert (receipt["version"], "champion" in receipt["aliases"]) == ("1", True)
    again = tiny.headrace("run", **env)
    assert "nothing to do" in again.stderr, again.stderr


def test_a_server_that_fails_for_a_while_is_waited_for(tiny_graph: TinyGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    prefect_server()
    monkeypatch.setenv("HEADRACE_PATIENCE_S", "60")
    name = name_of(tiny_graph)
    tiny_graph.order(f"left@{name}", sleep=3)
    with proxy() as between:

        def fail() -> None:
            until(lambda: bool(tiny_graph.notes("began")))
            between.fails = True
            time.sleep(8)
            between.fails = False

        failing = threading.Thread(target=fail)
        failing.start()
        code, said = run(tiny_graph, f"{between.url}/api")
        failing.join()
    assert code == 0, said
    assert between.done["failed"] > 0
    assert "waiting" in said
    assert "Traceback" not in said
    [found] = flow_runs(name)
    assert found.state_type.value == "COMPLETED"


def test_a_server_that_stays_away_costs_one_message(tiny_graph: TinyGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    prefect_server()
    monkeypatch.setenv("HEADRACE_PATIENCE_S", "2")
    with proxy() as between:
        between.fails = True
        code, said = run(tiny_graph, f"{between.url}/api")
    assert code == 1, said
    assert "Traceback" not in said
    assert said.count("does not answer") >= 1


@pytest.mark.parametrize("running", [False, True], ids=["it starts", "the flow run runs"])
def test_a_server_that_dies_in_the_middle_costs_no_stage(
    running: bool, tiny_graph: TinyGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workspace's own server, killed while the first stages run or while the last one does."""
    monkeypatch.setenv("HEADRACE_PATIENCE_S", "2")
    name = name_of(tiny_graph)
    slow = f"join@{name}" if running else f"prepare@{name}"
    tiny_graph.order(slow, sleep=10 if running else 3)
    process = start(tiny_graph, None)
    until(lambda: any(note["address"] == slow for note in tiny_graph.notes("began")), timeout_s=120)
    until((tiny_graph.root / "var/servers/prefect.json").exists)
    if running:
        until(partial(runs_on_its_server, tiny_graph))
    server = json.loads((tiny_graph.root / "var/servers/prefect.json").read_text())["pid"]
    for each in (psutil.Process(server), *psutil.Process(server).children(recursive=True)):
        os.kill(each.pid, signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, out + err
    assert len(re.findall("does not answer: |did not start", err)) == 1, err
    assert not set(err.splitlines()) & {"--- Error logging to API ---"}
    assert "EventsWorker" not in err
    assert "Traceback" not in err
    assert sorted(tiny_graph.ran()) == sorted(f"{stage}@{name}" for stage in STAGES)
    assert Graph(tiny_graph.root).stale([f"{stage}@{name}" for stage in STAGES]) == {}
