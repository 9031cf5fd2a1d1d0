"""One Prefect flow run a run over DVC's graph: cached states, branches, retries, time-outs, cancelling, turns."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psutil
import pytest

from core.errors import BadRequest
from flows.graph.plan import Outcome, Patience
from flows.run.run import run
from flows.servers.turns import holder
from tests.prefect_server import with_server
from tests.tiny_graph import TinyGraph, make_tiny_graph, until
from tests.warm import PYTHON

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_children")]
ALL = ["prepare@a", "left@a", "right@a", "join@a"]
QUICK = Patience(stage_timeout_s=60, retries=2, first_delay_s=0.1)


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in with_server().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def tiny(tmp_path: Path) -> TinyGraph:
    return make_tiny_graph(tmp_path / "w")


def bring(tiny: TinyGraph, *names: str, force: str | None = None, patience: Patience = QUICK) -> Outcome:
    return run(tiny.workspace, "recipe", names, force=force, patience=patience)


def states(outcome: Outcome) -> dict[str, str]:
    return {stage.address: stage.state for stage in outcome.stages}


def run_id(outcome: Outcome) -> UUID:
    return UUID(outcome.links["run"].rpartition("/")[2])


def task_runs(outcome: Outcome) -> dict[str, Any]:
    """What Prefect's server holds about the flow run's tasks, by name."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
    from prefect.client.schemas.sorting import TaskRunSort

    chosen = FlowRunFilter(id=FlowRunFilterId(any_=[run_id(outcome)]))
    found: dict[str, Any] = {}

    def settled() -> bool:  # task runs reach the server as events, and have no state or another name at first
        found.clear()
        with get_client(sync_client=True) as client:
            for each in client.read_task_runs(flow_run_filter=chosen, sort=TaskRunSort.NAME_ASC, limit=50):
                found[each.name] = each
        states = [each.state for each in found.values()]
        return bool(states) and all(state and (state.is_final() or state.name == "NotReady") for state in states)

    until(settled, timeout_s=20)
    return found


def flow_run(outcome: Outcome) -> Any:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        return client.read_flow_run(run_id(outcome))


def test_runs_then_has_nothing_to_do_and_dvc_agrees(tiny: TinyGraph) -> None:
    outcome = bring(tiny)
    assert (outcome.exit_code, outcome.nothing_to_do) == (0, False)
    assert states(outcome) == dict.fromkeys(ALL, "ran")
    assert sorted(tiny.ran()) == sorted(ALL)
    assert {name: each.state.name for name, each in task_runs(outcome).items()} == dict.fromkeys(ALL, "Completed")
    assert flow_run(outcome).state.name == "Completed"
    assert "up to date" in tiny.dvc("status").stdout
    assert "Running stage" not in tiny.dvc("repro").stdout
    again = bring(tiny)
    assert (again.exit_code, again.nothing_to_do) == (0, True)
    assert states(again) == dict.fromkeys(ALL, "cached")
    assert tiny.ran() == []
    assert tiny.git("status", "--porcelain") == "?? dvc.lock"


def test_what_dvc_did_is_not_done_again_and_needs_no_prefect(tiny: TinyGraph) -> None:
    assert tiny.dvc("repro").returncode == 0
    tiny.ran()
    code = (
        "import sys; from pathlib import Path; from flows.run.run import run; "
        "from core.workspace import Workspace; "
        "assert run(Workspace(Path.cwd()), 'recipe').nothing_to_do; "
        "print([name for name in ('prefect', 'mlflow', 'torch') if name in sys.modules])"
    )
    env = {"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([PYTHON, "-c", code], cwd=tiny.root, env=env, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    assert "nothing to do" in done.stderr
    assert tiny.ran() == []


def test_unchanged_stages_are_cached_task_runs(tiny: TinyGraph) -> None:
    bring(tiny)
    tiny.ran()
    tiny.write("rows-a.txt", "a 2")  # `left` keeps the first letter only: equal output, as before
    (tiny.root / "data/models/a/join.txt").unlink()
    tiny.dvc("repro", "join@a")
    tiny.ran()
    tiny.write("rows-a.txt", "a 3")
    outcome = bring(tiny)
    assert states(outcome) == {"prepare@a": "ran", "left@a": "ran", "right@a": "ran", "join@a": "ran"}
    text = (tiny.root / "dvc.yaml").read_text()
    tiny.ran()
    tiny.write("dvc.yaml", text.replace("step.py left", "step.py  left"))
    outcome = bring(tiny)
    assert tiny.ran() == ["left@a"]
    assert {name: each.state.name for name, each in task_runs(outcome).items()} == {
        "prepare@a": "Cached", "left@a": "Completed", "right@a": "Cached", "join@a": "Cached",
    }  # fmt: skip


def test_branches_run_at_once_and_a_failing_one_stops_only_itself(tmp_path: Path) -> None:
    tiny = make_tiny_graph(tmp_path / "w", recipes=("a", "b"))
    tiny.order("prepare@a", sleep=2)
    tiny.order("prepare@b", sleep=2)
    tiny.order("left@b", fault="rows-b.txt:1: bad", code=3)
    outcome = bring(tiny)
    assert outcome.exit_code == 3
    assert states(outcome) == {
        **dict.fromkeys(ALL, "ran"), "prepare@b": "ran", "left@b": "failed", "right@b": "ran", "join@b": "skipped",
    }  # fmt: skip
    (failed,) = (stage for stage in outcome.stages if stage.state == "failed")
    assert (failed.code, failed.message) == (3, "rows-b.txt:1: bad")
    began = {note["address"]: note["at"] for note in tiny.notes("began")}
    ended = {note["address"]: note["at"] for note in tiny.notes("ended")}
    assert began["prepare@b"] < ended["prepare@a"] and began["prepare@a"] < ended["prepare@b"]
    assert flow_run(outcome).state.type.value == "FAILED"
    found = task_runs(outcome)
    assert found["left@b"].state.name == "Failed" and found["left@b"].run_count == 1
    assert found["join@b"].state.name == "NotReady"
    tiny.order("left@b")
    assert bring(tiny).exit_code == 0


def test_only_what_can_pass_is_tried_again(tiny: TinyGraph) -> None:
    tiny.order("left@a", fault="the server does not answer", code=1, transient=True, once=True)
    outcome = bring(tiny)
    assert outcome.exit_code == 0
    assert task_runs(outcome)["left@a"].run_count == 2
    tiny.write("rows-a.txt", "b")
    tiny.order("prepare@a", fault="the server does not answer", code=1, transient=True)
    outcome = bring(tiny)
    assert outcome.exit_code == 1
    assert len([note for note in tiny.notes("began") if note["address"] == "prepare@a"]) == 1 + 3


def test_a_timeout_and_a_crash_are_faults_of_the_stage(tiny: TinyGraph) -> None:
    tiny.order("prepare@a", sleep=60)
    outcome = bring(tiny, patience=Patience(stage_timeout_s=1.5))
    assert outcome.exit_code == 1
    assert "took more than 2 s" in outcome.stages[0].message
    tiny.order("prepare@a", exit=2)
    outcome = bring(tiny)
    assert outcome.exit_code == 2
    assert "last words" in outcome.stages[0].message


def test_force_runs_one_stage(tiny: TinyGraph) -> None:
    bring(tiny)
    tiny.ran()
    outcome = bring(tiny, force="left")
    assert tiny.ran() == ["left@a"]
    assert states(outcome) == {"prepare@a": "cached", "left@a": "ran", "right@a": "cached", "join@a": "cached"}


@pytest.mark.parametrize(
    ("names", "force", "says"),
    [(("nope",), None, "no live recipe 'nope'.*Live: a"), ((), "tain", "no such stage. Allowed: prepare, left")],
)
def test_a_request_that_cannot_be_met(tiny: TinyGraph, names: tuple[str, ...], force: str | None, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        bring(tiny, *names, force=force)


def test_a_gate_that_refused_is_exit_4_and_a_red_state_of_its_name(tiny: TinyGraph, monkeypatch: Any) -> None:
    """Exit 4 also when nothing is to do. No stage is tried again."""
    reason = {"gate": "accuracy", "passed": False, "why": "on the test split", "value": 0.1, "bound": "at least 0.8"}
    receipt = {"model": "a", "version": "1", "experiment": "x", "verdict": {"passed": False, "reasons": [reason]}}
    monkeypatch.setenv("DVC_EXP_NAME", "x")  # a receipt that needs no registry
    tiny.write("data/models/a/registered.json", json.dumps({**receipt, "aliases": []}))
    outcome = bring(tiny)
    state, why = flow_run(outcome).state, "accuracy: 0.1000, bound at least 0.8 (on the test split)"
    assert (outcome.exit_code, outcome.nothing_to_do, outcome.refused) == (4, False, {"a": [why]})
    assert (state.type.value, state.name, state.message) == ("FAILED", "Refused", f"a: {why}")
    assert {each.run_count for each in task_runs(outcome).values()} == {1}
    outcome = bring(tiny)
    assert (outcome.exit_code, outcome.nothing_to_do) == (4, True)


def test_a_receipt_that_does_not_hold_runs_its_stage(tiny: TinyGraph) -> None:
    text = (tiny.root / "dvc.yaml").read_text()
    tiny.write("dvc.yaml", text.replace("join", "register").replace("register.txt", "registered.json"))
    bring(tiny)
    receipt = {"server": "embedded", "model": "a", "version": "7", "model_hash": "x", "aliases": []}
    tiny.write("data/models/a/registered.json", json.dumps(receipt))
    tiny.dvc("commit", "-f", "register@a")
    assert "up to date" in tiny.dvc("status").stdout
    tiny.ran()
    outcome = bring(tiny)
    assert tiny.ran() == ["register@a"]
    assert states(outcome)["prepare@a"] == "cached"


def test_the_page_gets_progress_and_results(tiny: TinyGraph) -> None:
    from prefect.client.orchestration import get_client

    report = {
        "model": {"accuracy": {"value": 0.8, "low": 0.7, "high": 0.9}},
        "baselines": {"majority": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}},
    }
    tiny.write("data/models/a/evaluation/metrics.json", json.dumps({"accuracy": 0.8}))
    tiny.write("data/models/a/evaluation/report.json", json.dumps(report))
    tiny.write("data/models/a/evaluation/plots/confusion.png", "not a picture")
    outcome = bring(tiny)
    with get_client(sync_client=True) as client:
        chosen = {"flow_run_id": {"any_": [str(run_id(outcome))]}}
        answer = client.request("POST", "/artifacts/filter", json={"artifacts": chosen})
        found = {each["key"]: each["data"] for each in answer.json()}
    assert found["recipe-progress"] == 100.0
    page = str(found["recipe-a"])
    assert "accuracy" in page and "| join@a | ran |" in page and "data:image/png;base64" in page
    rows = json.loads(str(found["recipe-a-metrics"]))
    assert rows[0] == {"of": "model", "metric": "accuracy", "value": 0.8, "low": 0.7, "high": 0.9}
    assert rows[1]["of"] == "baseline majority" and rows[1]["value"] == 0.5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_every_child_and_leaves_the_workspace(tiny: TinyGraph, number: signal.Signals) -> None:
    bring(tiny)
    before = (tiny.root / "data/models/a/right.txt").read_text()
    tiny.ran()
    tiny.write("rows-a.txt", "b")
    tiny.order("right@a", sleep=60, child=60)
    driver = tiny.start_run()
    tiny.wait_for("right@a")
    family = psutil.Process(driver.pid).children(recursive=True)
    driver.send_signal(number)
    out, err = driver.communicate(timeout=30)
    assert driver.returncode == 130, err
    assert json.loads(out)["exit_code"] == 130
    assert not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert (tiny.root / "data/models/a/right.txt").read_text() == before
    assert "right@a" not in tiny.ran()
    tiny.order("right@a")
    assert tiny.dvc("repro").returncode == 0
    assert bring(tiny).nothing_to_do


def test_cancelled_on_prefects_page(tmp_path: Path) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        FlowRunFilter,
        FlowRunFilterName,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort
    from prefect.states import Cancelling

    name = f"r{uuid4().hex[:8]}"  # other workers' runs are at the same server
    tiny = make_tiny_graph(tmp_path / "w", recipes=(name,))
    tiny.order(f"prepare@{name}", sleep=60)
    driver = tiny.start_run()
    stage = tiny.wait_for(f"prepare@{name}")
    state = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.RUNNING]))
    running = FlowRunFilter(state=state, name=FlowRunFilterName(any_=[name]))
    with get_client(sync_client=True) as client:

        def current() -> list[Any]:
            return client.read_flow_runs(flow_run_filter=running, sort=FlowRunSort.ID_DESC, limit=5)

        until(lambda: len(current()) == 1)
        (found,) = current()
        client.set_flow_run_state(found.id, Cancelling())
        out, err = driver.communicate(timeout=30)
        assert driver.returncode == 130, err
        ended = client.read_flow_run(found.id).state
        assert ended is not None and ended.type == StateType.CANCELLED
    assert {each["state"] for each in json.loads(out)["stages"]} == {"cancelled"}
    assert not psutil.pid_exists(stage)


def test_the_second_run_waits_and_says_for_what(tiny: TinyGraph) -> None:
    tiny.order("prepare@a", sleep=2)
    first = tiny.start_run()
    tiny.wait_for("prepare@a")
    seen = holder(tiny.workspace, "recipe", "a")
    assert seen is not None and seen.pid == first.pid
    second = tiny.start_run()
    out, err = second.communicate(timeout=60)
    assert (first.wait(), second.returncode) == (0, 0)
    assert f"a: waiting for process {first.pid}" in err
    assert json.loads(out)["nothing_to_do"]
    assert sorted(tiny.ran()) == sorted(ALL)
    assert holder(tiny.workspace, "recipe", "a") is None


def test_runs_and_a_bare_dvc_at_once_do_nothing_twice(tmp_path: Path) -> None:
    tiny = make_tiny_graph(tmp_path / "w", recipes=("a", "b"))
    runs = [tiny.start_run(*names, forked=True) for names in (("a",), ("b", "a"), (), ("a", "b"))]
    bare = threading.Thread(target=tiny.dvc, args=("repro",))
    bare.start()
    for each in runs:
        _, err = each.communicate(timeout=120)
        assert each.returncode == 0, err
    bare.join()
    assert sorted(tiny.ran()) == sorted([*ALL, *(address.replace("@a", "@b") for address in ALL)])
    assert "up to date" in tiny.dvc("status").stdout
