"""A plain `dvc repro` beside ours: what it comes to is left to it, so that no stage is made twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flows.graph.dvc_faults import Busy
from flows.graph.graph import Graph
from flows.graph.plain_dvc import repro_of
from tests.tiny_graph import TinyGraph, make_tiny_graph


@pytest.fixture
def tiny(tmp_path: Path) -> TinyGraph:
    return make_tiny_graph(tmp_path / "w")


@pytest.mark.parametrize(
    ("command", "targets"),
    [
        ("/x/bin/dvc repro", ()),
        ("dvc repro -q train@a", ("train@a",)),
        ("dvc -v repro dvc.yaml:train@a -f left", ("train@a", "left")),
        ("/x y/dvc/__main__.py repro", ()),
        ("dvc repro --pipeline train@a", ()),
        ("dvc repro train@a -fp", ()),
        ("dvc repro --downstream train@a", ()),
        ("dvc --cd /elsewhere repro train@a", ("train@a",)),
        ("dvc exp run -S recipes/a.yaml:training.epochs=9 train@a", ("training.epochs=9", "train@a")),
    ],
)
def test_its_command_says_what_it_brings(command: str, targets: tuple[str, ...]) -> None:
    repro = repro_of(command)
    assert repro is not None
    assert repro.targets == targets
    needs = {"train@a": {"train@a", "settings@a"}}
    assert repro.brings("settings@a", lambda each: needs.get(each, set()))
    assert repro.brings("settings@b", lambda each: needs.get(each, set())) == (targets != ("train@a",))


@pytest.mark.parametrize(
    "command", ["headrace run a", "python -m flows.run.worker", "/x/dvc status", "pytest dvc repro"]
)
def test_other_commands_hold_no_plan(command: str) -> None:
    assert repro_of(command) is None


def test_what_a_plain_dvc_repro_comes_to_is_left_to_it(tiny: TinyGraph) -> None:
    """It read what is stale at its beginning, and would make again whatever others made meanwhile."""
    tiny.order("left@a", sleep=2)
    plain = threading.Thread(target=tiny.dvc, args=("repro",))
    plain.start()
    tiny.wait_for("left@a")
    said: list[str] = []
    assert Graph(tiny.root).reproduce("right@a", say=said.append) == "cached"
    plain.join()
    assert any("right@a is left to process" in each and "repro" in each for each in said)
    assert tiny.ran() == ["prepare@a", "left@a", "right@a", "join@a"]


@pytest.mark.slow
def test_what_a_plain_dvc_repro_does_not_come_to_is_brought_beside_it(tmp_path: Path) -> None:
    tiny = make_tiny_graph(tmp_path / "w", recipes=("a", "b"))
    tiny.order("left@a", sleep=3)
    plain = threading.Thread(target=tiny.dvc, args=("repro", "-q", "left@a"))
    plain.start()
    tiny.wait_for("left@a")
    graph, said = Graph(tiny.root), list[str]()
    assert graph.reproduce("prepare@b", say=said.append) == "ran"
    assert (said, plain.is_alive()) == ([], True)
    with pytest.raises(Busy, match="left@a is left to process"):
        graph.reproduce("left@a")
    plain.join()


def test_a_lock_file_that_is_being_written_is_read_again_under_dvcs_lock(
    tiny: TinyGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dvc.repo

    assert tiny.dvc("repro") is not None
    file, taken = tiny.root / "dvc.lock", dvc.repo.lock_repo
    whole, nodes = file.read_text(), Graph(tiny.root).nodes

    @contextmanager
    def once_written(repo: Any) -> Iterator[None]:
        file.write_text(whole)
        with taken(repo):
            yield

    graph = Graph(tiny.root)
    _ = graph.cache  # what a killed process left torn is mended when a graph is opened; this one lives
    file.write_text(f"{whole}\nleft")
    monkeypatch.setattr(dvc.repo, "lock_repo", once_written)
    assert graph.nodes == nodes
