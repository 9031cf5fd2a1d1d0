"""What flows/graph/graph.py reads out of DVC, beside what the `dvc` command prints."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from core.errors import BadRequest, HeadraceError
from flows.graph.dvc_faults import Busy, CommandFailed
from flows.graph.graph import Graph, behind, select
from tests.conftest import make_workspace
from tests.tiny_graph import TinyGraph, make_tiny_graph, until


@pytest.fixture
def tiny(tmp_path: Path) -> TinyGraph:
    return make_tiny_graph(tmp_path / "w", recipes=("a", "b"), indexes=("i",))


def edges_by_dvc(dot: str) -> set[tuple[str, str]]:
    return set(re.findall(r'^"(.+)" -> "(.+)";$', dot, re.MULTILINE))


def edges_by_us(root: Path) -> set[tuple[str, str]]:
    return {(need, node.address) for node in Graph(root).nodes for need in node.needs}


def test_edges_are_those_of_dvc_dag(tiny: TinyGraph) -> None:
    expected = edges_by_dvc(tiny.dvc("dag", "--dot").stdout)
    assert len(expected) == 8
    assert edges_by_us(tiny.root) == expected


def test_the_edges_of_the_real_graph_too(tmp_path: Path) -> None:
    made = make_workspace(tmp_path / "w")
    made.live(
        recipes={"m": {"task": "text_classification", "watch": "rows.csv"}}, indexes={"i": {"watch": "indexes/i.lock"}}
    )
    expected = edges_by_dvc(made.dvc("dag", "--dot").stdout)
    assert len(expected) > 20
    assert edges_by_us(made.root) == expected


def test_order_kinds_and_selection(tiny: TinyGraph) -> None:
    nodes = Graph(tiny.root).nodes
    seen: set[str] = set()
    for node in nodes:
        assert seen.issuperset(node.needs)
        seen.add(node.address)
    assert {node.address: node.kind for node in nodes if node.name in "ai"} == {
        "prepare@a": "recipe", "left@a": "recipe", "right@a": "recipe", "join@a": "recipe", "load@i": "index",
    }  # fmt: skip
    chosen = select(nodes, "recipe", ["b"])
    assert {node.address for node in chosen} == {"prepare@b", "left@b", "right@b", "join@b"}
    assert behind(chosen, ["left@b"]) == {"left@b", "join@b"}


def test_what_is_stale_is_what_dvc_status_says(tiny: TinyGraph) -> None:
    nodes = [node.address for node in Graph(tiny.root).nodes]
    assert Graph(tiny.root).stale(nodes) == {address: ["it never ran"] for address in nodes}
    assert tiny.dvc("repro").returncode == 0
    assert Graph(tiny.root).stale(nodes) == {}
    tiny.write("rows-a.txt", "a 2")
    (tiny.root / "data/models/a/join.txt").unlink()
    text = (tiny.root / "dvc.yaml").read_text()
    tiny.write("dvc.yaml", text.replace("step.py load", "step.py  load"))
    found = Graph(tiny.root).stale(nodes)
    assert found == {
        "prepare@a": ["rows-a.txt changed"],
        "join@a": ["its output data/models/a/join.txt is missing"],
        "load@i": ["its command changed"],
    }
    assert found.keys() == json.loads(tiny.dvc("status", "--json").stdout).keys()


def test_a_param_is_named(tiny: TinyGraph) -> None:
    tiny.write("settings.json", '{"epochs": 1}')
    with (tiny.root / "dvc.yaml").open("a") as file:
        file.write("  fit: {cmd: echo fit, params: [settings.json: [epochs]]}\n")
    assert tiny.dvc("repro", "fit").returncode == 0
    tiny.write("settings.json", '{"epochs": 2}')
    (reason,) = Graph(tiny.root).stale(["fit"])["fit"]
    assert "settings.json: epochs changed" in reason or reason == "it never ran"


def test_reproduce_one_stage_from_any_folder(tiny: TinyGraph, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    graph = Graph(tiny.root)
    assert graph.reproduce("load@i") == "ran"
    assert graph.reproduce("load@i") == "cached"
    assert graph.reproduce("load@i", force=True) == "ran"
    assert tiny.ran() == ["load@i", "load@i"]
    tiny.order("prepare@a", exit=7)
    with pytest.raises(CommandFailed, match="exited with 7"):
        graph.reproduce("prepare@a")
    with pytest.raises(BadRequest, match=r"data/models/a/left\.txt"):
        graph.reproduce("join@a")


def test_faults_of_dvc_say_what_to_do(tiny: TinyGraph) -> None:
    text = (tiny.root / "dvc.yaml").read_text()
    tiny.write("dvc.yaml", text + "  broken: [\n")
    with pytest.raises(BadRequest, match=r"dvc\.yaml"):
        _ = Graph(tiny.root).nodes


@pytest.mark.slow
def test_waits_for_a_bare_dvc_and_says_for_whom(tiny: TinyGraph) -> None:
    tiny.order("load@i", sleep=3)
    bare = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "load@i"], cwd=tiny.root, stdout=subprocess.DEVNULL)
    until(lambda: bool(tiny.notes("began")))
    with pytest.raises(Busy, match=rf"process {bare.pid} \(`.*repro load@i`\)"):
        Graph(tiny.root).reproduce("load@i")
    said: list[str] = []
    assert Graph(tiny.root).reproduce("load@i", say=said.append) == "cached"
    assert len(said) == 1
    assert f"process {bare.pid}" in said[0]
    assert bare.wait() == 0
    assert tiny.ran() == ["load@i"]


def test_a_push_without_a_remote_is_none(tiny: TinyGraph, tmp_path: Path) -> None:
    graph = Graph(tiny.root)
    graph.reproduce("load@i")
    assert graph.push(["load@i"]) is None
    tiny.dvc("remote", "add", "-d", "disk", str(tmp_path / "remote"))
    assert Graph(tiny.root).push(["load@i"]) == 1
    assert threading.active_count() >= 1


def test_a_push_that_fails_does_not_tell_the_password(tiny: TinyGraph, capfd: pytest.CaptureFixture[str]) -> None:
    Graph(tiny.root).reproduce("load@i")
    for url, says in (
        ("http://bob:s3cret@127.0.0.1:9/x", "failed to upload"),
        ("hdfs://b/x", r"DVC: hdfs.*'dvc-hdfs'"),
    ):
        tiny.write(".dvc/config.local", f"[core]\n    remote = far\n['remote \"far\"']\n    url = {url}\n")
        with pytest.raises(HeadraceError, match=says) as fault:
            Graph(tiny.root).push(["load@i"])
        assert "s3cret" not in f"{fault.value} {fault.value.__cause__} {''.join(capfd.readouterr())}"
