"""Power cuts: what was said to be done is on disk, and what was not finished is done by the next run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from core.atomic_files import make_folder, replacing, write_json, write_text
from pipelines.search.vectors.vector_table import Parts, as_keys, read
from pipelines.sources.http import _download
from tests.faults.disk import Disk, watch
from tests.faults.killing import attempt
from tests.faults.short import search
from tests.faults.test_rot import objects, wrong
from tests.tiny_graph import TinyGraph, make_tiny_graph

KEY = "a" * 64


def after_a_cut(root: Path, work: Callable[[], object]) -> list[str]:
    """Do the work in a process of its own, then lose all that it left unsynced; what that was."""
    root.mkdir(exist_ok=True)
    disk = Disk(root)
    disk.begin()

    def watched() -> None:
        watch(root)
        work()

    log = Path(f"{root}.log")
    assert attempt(watched, log=log) == 0, log.read_text()
    return disk.cut()


def test_the_disk_loses_what_was_not_synced(tmp_path: Path) -> None:
    """Or the tests here would show nothing."""
    root = tmp_path / "w"
    root.mkdir()
    (root / "old").write_text("old")

    def careless() -> None:
        (root / "new").write_text("new")
        (root / "beside").write_text("newer")
        (root / "beside").replace(root / "old")
        (root / "folder").mkdir()
        (root / "folder" / "file").write_text("x")

    lost = after_a_cut(root, careless)
    assert (root / "old").read_text() == "old"
    assert [path.name for path in root.iterdir()] == ["old"], lost


def vectors(root: Path) -> None:
    parts = Parts(root / "var/vectors/notes/method")
    parts.add(as_keys([KEY]), np.ones((1, 4), np.float32))
    parts.close()


def features(root: Path) -> None:
    import torch

    from pipelines.tasks.parts.encoder import kept_vectors

    kept_vectors(root / "var/features/x.safetensors", lambda: torch.ones(2, 3))


def folder(root: Path) -> None:
    for text in ("one", "two"):
        with replacing(root / "data/models/a/raw") as new:
            (new / "below").mkdir()
            (new / "below" / "file").write_text(text)


def download(root: Path) -> None:
    from pipelines.sources import http

    http._continue = lambda _, part: part.write_text("content")  # type: ignore[assignment]
    _download("http://x/file", root / "var/downloads/k.part", root / "var/downloads/k/file", None)


WRITERS: dict[str, tuple[Callable[[Path], None], Callable[[Path], bool]]] = {
    "a receipt": (
        lambda root: write_json(root / "data/models/a/registered.json", {"version": 1}),
        lambda root: json.loads((root / "data/models/a/registered.json").read_text()) == {"version": 1},
    ),
    "a lock": (
        lambda root: write_text(root / "recipes/a.lock", "x"),
        lambda root: (root / "recipes/a.lock").read_text() == "x",
    ),
    "a stage's folder": (folder, lambda root: (root / "data/models/a/raw/below/file").read_text() == "two"),
    "a folder": (lambda root: make_folder(root / "var/a/b"), lambda root: (root / "var/a/b").is_dir()),
    "vectors of a run that goes on": (
        vectors,
        lambda root: [key for path in root.rglob("*.parquet") for key in read(path).keys.astype(str)] == [KEY],
    ),
    "features of a base": (features, lambda root: (root / "var/features/x.safetensors").stat().st_size > 0),
    "a download": (download, lambda root: (root / "var/downloads/k/file").read_text() == "content"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRITERS)
def test_what_was_written_survives(what: str, tmp_path: Path) -> None:
    write, is_there = WRITERS[what]
    lost = after_a_cut(tmp_path / "w", lambda: write(tmp_path / "w"))
    assert is_there(tmp_path / "w"), lost


@pytest.fixture
def tiny_graph(tmp_path: Path) -> TinyGraph:
    return make_tiny_graph(tmp_path / "w")


def test_what_dvc_lock_names_is_on_disk(tiny_graph: TinyGraph) -> None:
    """In the workspace and in DVC's cache: DVC syncs neither."""
    from flows.graph.graph import Graph

    def reproduce() -> None:
        graph = Graph(tiny_graph.root)
        for node in graph.nodes:
            graph.reproduce(node.address)

    assert after_a_cut(tiny_graph.root, reproduce)
    cache = tiny_graph.root / ".dvc/cache/files"
    assert len(objects(cache)) >= 2
    assert not wrong(cache)
    assert "up to date" in tiny_graph.dvc("status").stdout


@pytest.mark.slow
def test_an_emptied_object_is_found_when_the_machine_starts_anew(
    tiny_graph: TinyGraph, capfd: pytest.CaptureFixture[str]
) -> None:
    """As `dvc repro` leaves it: DVC would hand it out, and push it, for ever."""
    from flows.graph.graph import Graph

    assert tiny_graph.dvc("repro").returncode == 0
    cache = tiny_graph.root / ".dvc/cache/files"
    for cached in objects(cache):
        cached.chmod(0o644)
        cached.write_bytes(b"")
        cached.chmod(0o444)
    assert "up to date" in tiny_graph.dvc("status").stdout
    (tiny_graph.root / "data/models/a/join.txt").unlink()  # this output was lost too
    graph = Graph(tiny_graph.root)
    assert list(graph.stale([node.address for node in graph.nodes])) == ["join@a"]
    assert "were short: the power failed" in capfd.readouterr().err
    assert not wrong(cache)
    assert graph.reproduce("join@a") == "ran"
    assert "up to date" in tiny_graph.dvc("status").stdout
    Graph(tiny_graph.root).open()
    assert "were short" not in capfd.readouterr().err


@pytest.mark.slow
def test_after_any_power_cut_the_next_run_finishes_by_itself(tmp_path: Path) -> None:
    found = search("power_cut", str(tmp_path), "--cuts", "1", "--seed", "5")
    assert (found["faults"], found["cuts"], found["lost"] > 0) == (0, 1, True), found
