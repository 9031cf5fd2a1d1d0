"""The workers and their crew: what stages say, how they end, and that no stage outlives its driver."""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.progress import DRIVER_VARIABLE, Progress, send, tell
from flows.graph.graph import Graph, select, without_code
from flows.graph.plan import Patience, Plan
from flows.reporting.screen import Screen
from flows.run.work import Work
from flows.run.workers import Cancelled, Crew, StageFault
from tests.tiny_graph import TinyGraph, make_tiny_graph, until

Said = list[dict[str, Any]]


@pytest.fixture(params=[(), ("json",)], ids=["started", "forked"])
def libraries(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """None: DVC starts each stage. Some: they are forked from a process that has imported them."""
    found: tuple[str, ...] = request.param
    return found


@pytest.fixture
def tiny(tmp_path: Path, libraries: tuple[str, ...]) -> TinyGraph:
    made = make_tiny_graph(tmp_path / "w")
    if libraries:  # what is forked is called as our stages are
        made.write("pipelines/__init__.py", "")
        made.write("pipelines/step.py", (made.root / "step.py").read_text())
        made.write(
            "dvc.yaml", (made.root / "dvc.yaml").read_text().replace("python step.py", "python -m pipelines.step")
        )
        made.git("add", "-A")
        made.git("commit", "-qm", "forked")
    return made


@pytest.fixture
def crew(tiny: TinyGraph, libraries: tuple[str, ...]):
    with _crew(tiny, libraries) as crew:
        yield crew


def _crew(tiny: TinyGraph, libraries: tuple[str, ...]) -> Crew:
    return Crew(tiny.root, tiny.root / "var" / "logs", size=1, title="headrace run a", libraries=libraries)


def test_forked_or_started_as_asked(tiny: TinyGraph, crew: Crew, libraries: tuple[str, ...]) -> None:
    tiny.order("prepare@a", sleep=60)
    found: list[str] = []

    def look() -> None:
        stage = psutil.Process(tiny.wait_for("prepare@a"))
        above = [word for each in stage.parents() for word in each.cmdline()]
        found.extend(above if os.getpgid(stage.pid) in _groups(crew) else ["another group"])
        crew.cancel()

    threading.Thread(target=look).start()
    with pytest.raises(Cancelled):
        bring(crew, "prepare@a")
    assert "flows.run.worker" in found
    assert any(word.endswith("stage_template.py") for word in found) == bool(libraries)


def _groups(crew: Crew) -> set[int]:
    return {worker.process.pid for worker in crew._all}


def bring(crew: Crew, address: str, *, timeout_s: float = 60, said: Said | None = None) -> str:
    heard = said if said is not None else []
    return crew.run(address, force=False, timeout_s=timeout_s, on_facts=heard.append)


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_runs_then_is_cached_and_keeps_the_log(tiny: TinyGraph, crew: Crew) -> None:
    tiny.order("prepare@a", sleep=0.5)
    said: Said = []
    assert bring(crew, "prepare@a", said=said) == "ran"
    assert said[0] == {"started": "prepare@a"}
    assert {"progress": "sleep", "done": 3, "total": 5.0, "unit": "naps"} in said
    said.clear()
    assert bring(crew, "prepare@a", said=said) == "cached"
    assert said == []
    assert (tiny.root / "var/logs/prepare@a.log").read_text() == "stdout of prepare@a\n"
    assert tiny.git("status", "--porcelain") == "?? dvc.lock"


def test_a_stage_that_is_not_run_keeps_its_log(tiny: TinyGraph, crew: Crew) -> None:
    tiny.order("prepare@a", exit=9)
    for _ in range(2):  # the second try's words stand alone
        with pytest.raises(StageFault, match="exited with 9"):
            bring(crew, "prepare@a")
    log = tiny.root / "var/logs/prepare@a.log"
    assert log.read_text() == "stdout of prepare@a\nlast words\n"
    tiny.order("prepare@a")
    assert [bring(crew, "prepare@a") for _ in range(2)] == ["ran", "cached"]
    assert log.read_text() == "stdout of prepare@a\n"


def test_a_driver_that_is_gone_or_behind_stops_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DRIVER_VARIABLE, str(tmp_path / "s"))
    tell(fault="nobody is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as driver:
        driver.bind(str(tmp_path / "s"))
        with Progress("read", total=None, unit="rows") as progress:
            for _ in range(2000):  # more than wait for a driver
                progress._last = 0
                progress.advance()
        assert json.loads(driver.recv(1 << 20))["done"] == 1
        tell(fault="x" * 150_000)
        tell(fault="x" * 2_000_000)  # too long: what the stage printed stands in its log
        with pytest.raises(OSError, match="too long"):
            send({"fault": "x" * 2_000_000})
        done = 1
        while "fault" not in (told := json.loads(driver.recv(1 << 20))):
            assert told["done"] == (done := done + 1)
        assert told == {"fault": "x" * 150_000} and done < 2000
    tell(fault="nobody listens any more")


def test_a_temporary_folder_too_long_for_a_socket(
    tiny: TinyGraph, libraries: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write(f"{'x' * 120}/file", "")
    monkeypatch.setattr(tempfile, "tempdir", str(tiny.root / ("x" * 120)))
    with _crew(tiny, libraries) as crew:
        assert bring(crew, "prepare@a") == "ran"


def test_a_worker_that_cannot_start_says_why(
    tiny: TinyGraph, libraries: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write("broken/psutil.py", "raise ImportError('no psutil here')")
    monkeypatch.setenv("PYTHONPATH", str(tiny.root / "broken"))
    with _crew(tiny, libraries) as crew:
        died = r"its worker process died\. All it wrote: .*prepare@a\.log\n(.*\n)*.*no psutil here"
        with pytest.raises(StageFault, match=died):
            bring(crew, "prepare@a")


def test_a_fault_brings_the_stages_own_words(tiny: TinyGraph, crew: Crew) -> None:
    tiny.order("prepare@a", fault="rows.csv:3: no label", code=3)
    with pytest.raises(StageFault, match=r"^rows\.csv:3: no label$") as fault:
        bring(crew, "prepare@a")
    assert (fault.value.exit_code, fault.value.transient) == (3, False)
    tiny.order("prepare@a", fault="no answer", code=1, transient=True)
    with pytest.raises(StageFault, match="no answer") as fault:
        bring(crew, "prepare@a")
    assert fault.value.transient


def test_a_crash_brings_its_last_lines(tiny: TinyGraph, crew: Crew) -> None:
    tiny.order("prepare@a", exit=9)
    with pytest.raises(StageFault, match=r"prepare@a exited with 9.*prepare@a\.log\n(.*\n)*  last words") as fault:
        bring(crew, "prepare@a")
    assert fault.value.exit_code == 1
    with pytest.raises(StageFault, match=r"left@a: DVC: .*prepare\.txt is missing"):
        bring(crew, "left@a")


def test_stages_go_on_before_anybody_asks_for_them(tiny: TinyGraph, crew: Crew) -> None:
    """Each begins when those that it needs are brought; what failed waits for a second try, and those behind it too."""
    graph = Graph(tiny.root)
    nodes = without_code(select(graph.nodes, "recipe", ["a"]))
    tiny.order("right@a", fault="no answer", code=1, transient=True, once=True)
    with Screen(quiet=True) as screen:
        work = Work(Plan("recipe", ["a"], nodes, {"prepare@a": ["new"]}), crew, screen, Patience(first_delay_s=0.1))
        until(lambda: len(work.outcomes()) == 3)
        assert {each.address: each.state for each in work.outcomes()} == {
            "prepare@a": "ran", "left@a": "ran", "right@a": "failed",
        }  # fmt: skip
        assert work.bring("right@a").state == "failed"
        assert work.may_retry("right@a")
        assert work.bring("right@a", tried=1).state == "ran"
        assert work.bring("join@a").state == "ran"


def test_a_timeout_ends_the_stage_and_its_children(tiny: TinyGraph, crew: Crew) -> None:
    tiny.order("prepare@a", sleep=60, child=60)
    with pytest.raises(StageFault, match=r"took more than 2 s and was ended.*HEADRACE_STAGE_TIMEOUT_S"):
        bring(crew, "prepare@a", timeout_s=2)
    assert gone(tiny.wait_for("prepare@a"))
    assert "write" not in (tiny.root / ".dvc/tmp/rwlock").read_text().replace('"write": {}', "")
    tiny.order("prepare@a")
    assert bring(crew, "prepare@a") == "ran"  # a new worker took its place


def test_cancel_ends_what_runs_and_starts_nothing(tiny: TinyGraph, crew: Crew) -> None:
    tiny.order("prepare@a", sleep=60)

    def cancel() -> None:
        tiny.wait_for("prepare@a")
        crew.cancel()

    threading.Thread(target=cancel).start()
    with pytest.raises(Cancelled, match="cancelled"):
        bring(crew, "prepare@a")
    with pytest.raises(Cancelled, match="cancelled"):
        bring(crew, "left@a")
    assert gone(tiny.wait_for("prepare@a"))
    assert tiny.ran() == []


def test_a_worker_killed_alone_takes_its_stage_along(tiny: TinyGraph, crew: Crew) -> None:
    tiny.order("prepare@a", sleep=60)

    def kill() -> None:
        stage = psutil.Process(tiny.wait_for("prepare@a"))
        worker = next(each for each in stage.parents() if "flows.run.worker" in each.cmdline())
        worker.kill()

    threading.Thread(target=kill).start()
    with pytest.raises(StageFault, match="its worker process died"):
        bring(crew, "prepare@a")
    until(lambda: gone(tiny.wait_for("prepare@a")))


def test_no_stage_outlives_a_killed_driver(tiny: TinyGraph, libraries: tuple[str, ...]) -> None:
    tiny.order("prepare@a", sleep=60, child=60)
    code = (
        "from pathlib import Path; from flows.run.workers import Crew; root = Path.cwd()\n"
        f"with Crew(root, root / 'var' / 'logs', size=1, title='x', libraries={libraries}) as crew:\n"
        "    crew.run('prepare@a', force=False, timeout_s=60, on_facts=print)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    driver = subprocess.Popen([sys.executable, "-c", code], cwd=tiny.root, env=env, stdout=subprocess.DEVNULL)
    stage = tiny.wait_for("prepare@a")
    family = psutil.Process(driver.pid).children(recursive=True)
    assert len(family) >= 3
    folder = Path(psutil.Process(stage).environ()[DRIVER_VARIABLE]).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "another user could speak for the stage"
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    until(lambda: all(gone(each.pid) for each in family), timeout_s=20)
    assert gone(stage)
    assert not folder.exists()
    tiny.order("prepare@a")
    assert tiny.dvc("repro", "prepare@a").returncode == 0  # no lock was left behind


def test_a_training_says_loss_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the last minute alone; what an earlier try had done counts as done, and not for the rate."""
    now = 1000.0
    monkeypatch.delenv(DRIVER_VARIABLE, raising=False)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Progress("train", total=534, unit="steps") as progress:
        progress.advance(300)  # a checkpoint's
        for step in range(20):
            now += 1 if step < 10 else 0.5
            progress.advance(1, loss=math.nan if step < 8 else 0.42131)
        now += 120
        progress.advance(4, loss=0.4)
    assert capsys.readouterr().err.splitlines() == [
        "train: 310 of 534 steps, loss 0.4213, 1.0 steps/s, 0:03:44 left",
        "train: 324 of 534 steps, loss 0.4000, 0.1 steps/s, 0:31:15 left",
    ]
