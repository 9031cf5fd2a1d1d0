"""gc that is killed, that runs twice at once, and beside other work."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from flows.servers.turns import working
from registry.store import versions
from registry.store.connection import connect
from tests.conftest import ROOT
from tests.gc.world import MODEL, SLOWLY, World, free, gc_process, loads, waiting_gc
from tests.tiny_graph import TinyGraph
from tests.warm import warm


@pytest.mark.slow
def test_killed_while_it_comes_back_it_comes_back_the_next_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry.version import runs

    for which in range(2):
        world.train(which)
    free(world)
    write = runs._write_files

    def cut_short(*given: Any) -> None:
        write(*given)
        raise KeyboardInterrupt("as Ctrl-C would")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "_write_files", cut_short)
        with pytest.raises(KeyboardInterrupt, match="as Ctrl-C"):
            world.train(0)
    assert not loads(world, "1")
    assert loads(world, world.register(0).version)


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1, 3, 7])
def test_killed_in_the_middle_a_second_one_ends_the_work(world: World, after: int) -> None:
    """After so many removals; the next one is killed when its folder has lost its name."""
    for which in range(3):
        world.train(which)
    world.commit()
    die = (
        "import os, shutil\ndone, remove, unlink = [], shutil.rmtree, Path.unlink\n"
        f"def count(): done.append(1); len(done) > {after} and os._exit(9)\n"
        "subject.shutil.rmtree = lambda path, **how: (str(path).endswith('.freed') and path.exists() and count(), "
        "remove(path, **how))\n"
        "Path.unlink = lambda path, **how: ('cache/files' in str(path) and count(), unlink(path, **how))"
    )
    command = gc_process(world.root, before=die)
    done = subprocess.run(command, cwd=ROOT, env=warm(os.environ), capture_output=True, text=True, timeout=120)
    assert done.returncode == 9, done.stderr
    assert loads(world, "3")
    assert not loads(world, "1"), "it is marked before the first file goes"
    assert free(world)
    assert free(world) == []
    assert loads(world, "3")
    assert not [path for path in world.root.rglob("*") if path.name.endswith(".freed")]
    assert world.dvc("status", "train@a").stdout.strip() == "Data and pipelines are up to date."


@pytest.mark.slow
def test_a_mark_that_a_kill_left_goes_when_the_version_is_needed_again(world: World) -> None:
    for which in range(2):
        world.train(which)
    connect(world.var).set_model_version_tag(MODEL, "1", versions.FREED, "2026-11-25T00:00:00")
    world.write("rows-a.txt", "0")
    from flows.graph.graph import Graph

    Graph(world.root).reproduce("train@a")  # dvc.lock names it again
    assert not loads(world, "1")
    free(world)
    assert loads(world, "1")


@pytest.mark.slow
def test_two_at_once_the_second_waits(world: World) -> None:
    for which in range(3):
        world.train(which)
    pipes = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(gc_process(world.root, before=SLOWLY), **pipes)  # type: ignore[call-overload]
    assert first.stdout.readline() == "at it\n"
    second = subprocess.run(
        gc_process(world.root), cwd=ROOT, env=warm(os.environ), capture_output=True, text=True, timeout=120
    )
    assert int(first.communicate(timeout=60)[0]) > 0
    assert second.stdout == "0\n", second.stderr
    assert f"waiting for process {first.pid} (`headrace gc`, since " in second.stderr


@pytest.mark.slow
def test_it_waits_for_a_plain_dvc_and_says_so(working_graph: TinyGraph) -> None:
    working_graph.order("prepare@a", sleep=4, once=True)
    stage = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "-q"], cwd=working_graph.root)
    working_graph.wait_for("prepare@a")
    other = waiting_gc(working_graph)
    said = other.communicate(timeout=120)[1]
    assert f"waiting for process {stage.pid} (`" in said and "repro -q`), which runs a stage" in said
    assert stage.wait(timeout=60) == 0
    assert other.returncode == 0
    assert working_graph.dvc("status").stdout.strip() == "Data and pipelines are up to date."


@pytest.mark.slow
def test_it_waits_for_a_run_and_a_run_for_it(world: World) -> None:
    from tests.test_turns import hold

    holder = hold(world.root, 3)
    other = waiting_gc(world)
    assert f"waiting for process {holder.pid} (`headrace run a`, since " in other.communicate(timeout=120)[1]
    assert holder.wait(timeout=60) == 0
    at_it = subprocess.Popen(gc_process(world.root, before=SLOWLY), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert at_it.stdout is not None
    assert at_it.stdout.readline() == "at it\n"
    said: list[str] = []
    with working(world.workspace, say=said.append) as waited:
        assert waited
    assert said[0].startswith(f"waiting for process {at_it.pid} (`headrace gc`, since ")
    assert at_it.wait(timeout=60) == 0


@pytest.mark.slow
def test_it_waits_for_a_stage_that_runs_without_dvc(world: World) -> None:
    lock = world.var / "locks" / "recipe-a-train.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    code = (
        "import fcntl, os, sys, time\nfile = open(sys.argv[1], 'a+'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "file.write(f'process {os.getpid()}'); file.flush(); print('held', flush=True); time.sleep(4)"
    )
    stage = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True)
    assert stage.stdout is not None
    assert stage.stdout.readline() == "held\n"
    said = waiting_gc(world).communicate(timeout=120)[1]
    assert f"waiting for process {stage.pid} (recipe-a-train)" in said
    assert stage.wait(timeout=10) == 0
