"""DVC's own files, torn as kills tear them: the next command mends them, runs what is missing, and says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize._yaml import dumps_yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from core.errors import BadRequest
from flows.graph.graph import Graph
from flows.graph.torn_files import spliced
from tests.conftest import make_workspace
from tests.faults.killing import Kill, attempt
from tests.tiny_graph import TinyGraph, make_tiny_graph, until


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> TinyGraph:
    made = make_tiny_graph(tmp_path_factory.mktemp("lockfiles") / "w", recipes=("a", "b"), indexes=("i",))
    assert made.dvc("repro").returncode == 0
    made.ran()
    return made


@pytest.fixture
def tiny(made: TinyGraph, tmp_path: Path) -> TinyGraph:
    """A graph that ran once: dvc.lock has nine stages, none committed."""
    return TinyGraph(shutil.copytree(made.root, tmp_path / "w"))


def reproduce_all(tiny: TinyGraph) -> None:
    graph = Graph(tiny.root)
    for node in graph.nodes:
        graph.reproduce(node.address)


def stages(tiny: TinyGraph) -> dict[str, object]:
    read: dict[str, object] = YAML(typ="safe").load((tiny.root / "dvc.lock").read_text())["stages"]
    return read


@pytest.mark.slow
@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("committed", [True, False])
def test_a_dvc_lock_cut_anywhere_ends_as_it_was(tiny: TinyGraph, tenth: int, committed: bool) -> None:
    before, lock = stages(tiny), tiny.root / "dvc.lock"
    if committed:
        tiny.git("add", "dvc.lock")
        tiny.git("commit", "-qm", "ran")
    lock.write_bytes(lock.read_bytes()[: lock.stat().st_size * tenth // 10 + 3 * (tenth > 0)])
    reproduce_all(tiny)
    assert stages(tiny) == before
    assert "up to date" in tiny.dvc("status").stdout


def test_a_torn_dvc_lock_is_mended_with_a_word(tiny: TinyGraph, capfd: pytest.CaptureFixture[str]) -> None:
    before, lock = stages(tiny), tiny.root / "dvc.lock"
    tiny.git("add", "dvc.lock")
    tiny.git("commit", "-qm", "ran")
    text = lock.read_text()
    lock.write_text(text[: text.index("  left@b:") + 20] + "\0" * 50)
    assert Graph(tiny.root).stale([node.address for node in Graph(tiny.root).nodes]) == {}
    assert stages(tiny) == before
    said = capfd.readouterr().err
    assert "dvc.lock was torn: a process was killed while it wrote it. 3 of its stages are kept, 6 stand" in said


def test_a_merge_conflict_is_a_persons_to_solve(tiny: TinyGraph) -> None:
    lock = tiny.root / "dvc.lock"
    marked = "<<<<<<< HEAD\n" + lock.read_text() + "=======\n>>>>>>> other\n"
    lock.write_text(marked)
    with pytest.raises(BadRequest, match=r"dvc\.lock"):
        Graph(tiny.root).stale(["load@i"])
    assert lock.read_text() == marked


@pytest.mark.parametrize("torn", ['{"read": {', "", "\0\0\0\0", "[1]"])
def test_a_torn_list_of_locks_is_forgotten(tiny: TinyGraph, torn: str) -> None:
    tiny.write(".dvc/tmp/rwlock", torn)
    assert Graph(tiny.root).reproduce("load@i", force=True) == "ran"
    graph = Graph(tiny.root)
    graph.open()
    tiny.write(".dvc/tmp/rwlock", torn)  # while this process has been at work
    assert graph.reproduce("load@i", force=True) == "ran"


def test_a_lock_whose_process_number_was_given_out_anew_holds_nobody(tiny: TinyGraph) -> None:
    """After a power cut, or in a container started again, numbers come back."""
    holder = {"pid": os.getpid(), "cmd": "dvc repro"}
    tiny.write(
        ".dvc/tmp/rwlock", json.dumps({"write": {str(tiny.root / "data/indexes/i/load.txt"): holder}, "read": {}})
    )
    os.utime(tiny.root / ".dvc/tmp/rwlock", (1e9, 1e9))
    assert Graph(tiny.root).reproduce("load@i", force=True) == "ran"


def test_dvc_writes_its_lock_at_once_in_our_processes(tiny: TinyGraph) -> None:
    before = stages(tiny)
    tiny.write("rows-i.txt", "i 2")
    code = attempt(
        lambda: Graph(tiny.root).reproduce("load@i"),
        log=tiny.root / "var/log",
        kill=Kill("os:fsync", 1),  # the new dvc.lock stands beside, and has not its name yet
    )
    assert code == -signal.SIGKILL
    assert stages(tiny) == before
    reproduce_all(tiny)
    assert "up to date" in tiny.dvc("status").stdout


WORDS = st.one_of(st.text(max_size=90), st.sampled_from(["yes", "1e5", "12:30", "~", "a: b", "# c", "word " * 40]))
ENTRY = st.fixed_dictionaries(
    {"cmd": WORDS, "deps": st.lists(st.fixed_dictionaries({"path": WORDS, "size": st.integers()}), max_size=3)},
    optional={"params": st.dictionaries(WORDS, st.one_of(WORDS, st.none(), st.floats(allow_nan=False)), max_size=2)},
)
NAMES = st.sampled_from(["a", "train@b", "train@c-d", "x.y"])


@settings(deadline=None)
@given(st.dictionaries(NAMES, ENTRY, min_size=1), st.dictionaries(NAMES, ENTRY), st.sets(NAMES))
def test_a_spliced_lock_is_what_dvc_would_write(then: dict[str, Any], changed: dict[str, Any], gone: set[str]) -> None:
    """Entries that stay, change, come and go."""
    text = dumps_yaml({"schema": "2.0", "stages": then})
    stages = {name: entry for name, entry in {**then, **changed}.items() if name not in gone}
    data = {"schema": "2.0", "stages": stages}
    written = {name: dumps_yaml(entry) for name, entry in then.items()}  # another order of the fields is a change too
    new = {name for name, entry in stages.items() if dumps_yaml(entry) != written.get(name)}
    assert spliced(text, list(then), data, new) == (dumps_yaml(data) if stages else None)
    assert spliced(text, list(then), {**data, "datasets": []}, new) is None


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stage_ends_with_the_dvc_that_started_it(tmp_path: Path, number: int) -> None:
    made = make_workspace(tmp_path / "w")
    made.write("dvc.yaml", "stages:\n  settings:\n    cmd: python endless.py\n")
    made.write(
        "endless.py",
        "import time, sys; from pathlib import Path\nfrom pipelines.driver import end_with_driver\n"
        "end_with_driver()\nPath('began').touch()\n"
        "try:\n    time.sleep(120)\nexcept KeyboardInterrupt:\n    Path('cleaned').touch()\n",
    )
    driver = subprocess.Popen([sys.executable, "-m", "dvc", "repro"], cwd=made.root, env=made.env)
    until(made.path("began").exists)
    driver.send_signal(number)
    driver.wait()
    until(made.path("cleaned").exists, timeout_s=20)
