"""DVC's links into its cache (`cache.type`), and workspaces that were moved: nothing is made again, nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.workspace import Workspace
from flows.forget.swept_files import Sweep
from flows.graph.graph import Graph
from registry.store import versions
from registry.store.connection import exclusive
from registry.version import register_version
from tests.small_model import candidate, make_small_model
from tests.tiny_graph import TinyGraph, make_tiny_graph

ODD = "w ?a#b%20[c] größe"
STAGES = ["prepare@a", "left@a", "right@a", "join@a"]


def linked(root: Path, kind: str) -> TinyGraph:
    """A repository whose outputs are links of a kind, after a run."""
    tiny = make_tiny_graph(root)
    tiny.dvc("config", "cache.type", kind)
    done = tiny.dvc("repro", "-q")
    assert done.returncode == 0, done.stderr
    tiny.ran()
    return tiny


def outputs(root: Path) -> Iterator[Path]:
    yield from sorted((root / "data").rglob("*.txt"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["symlink", "hardlink", "copy"])
def test_moved_and_copied_nothing_is_made_again(kind: str, tmp_path: Path) -> None:
    tiny = linked(tmp_path / ODD, kind)
    assert all(path.is_symlink() == (kind == "symlink") for path in outputs(tiny.root))
    moved = tmp_path / f"{ODD} moved"
    tiny.root.rename(moved)
    assert Graph(moved).stale(STAGES) == {}
    assert [path.read_text() for path in outputs(moved)] == ["aa 1", "a", "a 1", "a 1"]
    shutil.copytree(moved, tmp_path / "copy", symlinks=True)
    assert Graph(tmp_path / "copy").stale(STAGES) == {}
    shutil.rmtree(moved)
    assert [path.read_text() for path in outputs(tmp_path / "copy")] == ["aa 1", "a", "a 1", "a 1"]
    assert TinyGraph(tmp_path / "copy").dvc("status").stdout.strip().endswith("up to date.")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_a_stage_that_runs_again_leaves_the_cache_as_it_was(kind: str, tmp_path: Path) -> None:
    tiny = linked(tmp_path / "w", kind)
    cached = {path: path.read_bytes() for path in (tiny.root / ".dvc/cache/files").rglob("*") if path.is_file()}
    tiny.write("rows-a.txt", "b 2")
    graph = Graph(tiny.root)
    assert [graph.reproduce(stage) for stage in STAGES] == ["ran"] * 4
    assert {path: path.read_bytes() for path in cached} == cached


def test_what_the_cache_lacks_is_for_its_stage_to_make(tmp_path: Path) -> None:
    tiny = linked(tmp_path / "w", "symlink")
    tiny.root.rename(moved := tmp_path / "moved")
    shutil.rmtree(moved / ".dvc/cache/files")
    assert list(Graph(moved).stale(STAGES)) == STAGES


def test_a_linked_output_is_searched_for_a_row_and_another_link_is_not(tmp_path: Path) -> None:
    tiny = linked(tmp_path / "w", "symlink")
    (tmp_path / "elsewhere.txt").write_text("x")
    (tiny.root / "data" / "mine.txt").symlink_to(tmp_path / "elsewhere.txt")
    cache = Path(Graph(tiny.root).objects(tmp_path).cache)
    found = set(Sweep(Workspace(tiny.root), cache).files())
    assert {*outputs(tiny.root)} - found == {tiny.root / "data" / "mine.txt"}


def test_a_model_of_links_to_read_only_files_is_registered_twice(tmp_path: Path) -> None:
    """As DVC leaves it: MLflow takes no links, and what it copies must be writable when it is registered again."""
    model = make_small_model(tmp_path / "made")
    store = tmp_path / "cache"
    store.mkdir()
    for number, path in enumerate(sorted(path for path in model.rglob("*") if path.is_file())):
        kept = path.rename(store / str(number))
        kept.chmod(0o444)
        path.symlink_to(kept)
    (evidence := tmp_path / "evidence" / "plots").mkdir(parents=True)
    (evidence / "a.png").write_bytes(b"a")
    (evidence / "a.png").chmod(0o444)
    var = tmp_path / "var"
    for _ in range(2):
        with exclusive(var):
            done = register_version.register(candidate(model, evidence.parent), var)
    folder = versions.packed_folder(done.version, var)
    files = [path for path in (*folder.rglob("*"), *(var / "mlflow" / "artifacts").rglob("*")) if path.is_file()]
    assert not [path for path in files if path.is_symlink() or not path.stat().st_mode & 0o200]
