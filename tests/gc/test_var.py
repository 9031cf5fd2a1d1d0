"""The rest of var/, what is shown, and stores that others share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from core.atomic_files import write_json
from core.errors import HeadraceError
from flows.cleanup.gc import document, gc, lines
from flows.cleanup.var_folders import PLACES
from pipelines.search.engine.release_files import Versions
from registry.cleanup import needed
from registry.store.connection import connect, server_name
from tests.conftest import ROOT
from tests.gc.world import DAY_S, MODEL, World, free, hashes, lay_about, loads
from tests.tiny_graph import TinyGraph
from tests.warm import warm


@pytest.mark.slow
def test_what_interrupted_work_left(world: World) -> None:
    world.train(0)
    world.publish(0)
    world.write("rows-a.txt", "1")  # stale: a training would go on from its checkpoint
    made = lay_about(world)
    free(world, spared_s=DAY_S)
    assert {name for name, path in made.items() if path.exists()} == {"live", "live log", "only", "features"}
    world.write("rows-a.txt", "0")
    free(world, spared_s=DAY_S)
    assert {name for name, path in made.items() if path.exists()} == {"live log"}


def test_every_place_is_freed_by_the_rule_that_describes_it(working_graph: TinyGraph) -> None:
    """An old entry that nothing needs, in each; what the registry and the search engine hold is asked of them."""
    var, asked = working_graph.workspace.var, ("mlflow", "qdrant")
    assert working_graph.dvc("repro").returncode == 0
    planted = {place.name: var / place.name / "gone" for place in PLACES if place.gc or not (var / place.name).suffix}
    for path in planted.values():
        path.mkdir(parents=True)
        (path / "file").write_text("x")
        os.utime(path / "file", (1, 1))
    free(working_graph, spared_s=DAY_S)
    described = {place.name for place in PLACES if place.gc and place.name not in asked}
    assert {name for name, path in planted.items() if not path.exists()} == described
    assert len(described) >= 9


@pytest.mark.slow
def test_what_is_young_stays(world: World) -> None:
    world.train(0)
    world.train(1)
    made = lay_about(world)
    for path in made.values():
        os.utime(path)
    before = hashes(world, "/.dvc/tmp/", "/locks/")
    assert free(world, spared_s=DAY_S) == []
    assert hashes(world, "/.dvc/tmp/", "/locks/") == before


def test_versions_of_an_index_that_is_not_live(world: World) -> None:
    store = Versions(world.var / "qdrant")
    world.publish(0)
    first = store.live("i")
    assert first is not None
    with store.reading("i", first):  # or publishing would remove it
        world.publish(1)
        assert f"i/{first}" not in free(world), "a rollback goes back to it"
        world.publish(2)
        assert f"i/{first}" not in free(world), "it is read"
    assert (world.var / "qdrant" / "i" / first).is_dir()
    receipt = world.index.folder / "published.json"
    now = json.loads(receipt.read_text())
    write_json(receipt, {**now, "version": first})  # as a checkout of an older commit leaves it
    free(world)
    assert (world.var / "qdrant" / "i" / first).is_dir()
    write_json(receipt, now)
    assert f"i/{first}" in free(world)
    assert not (world.var / "qdrant" / "i" / first).exists()
    assert world.answer() == "text 2"


@pytest.mark.slow
def test_a_model_whose_version_was_deleted(world: World) -> None:
    world.train(0)
    world.train(1)
    connect(world.var).delete_model_version(MODEL, "1")
    orphan = f"{MODEL} ("
    assert not any(name.startswith(orphan) for name in free(world, spared_s=DAY_S))
    assert any(name.startswith(orphan) for name in free(world))
    again = world.train(0)
    assert (again.version, loads(world, "3")) == ("3", True)


@pytest.mark.slow
def test_a_dry_run_changes_nothing_and_says_what_would_go(world: World) -> None:
    world.train(0)
    world.train(1)
    world.publish(0)
    lay_about(world)
    free(world, spared_s=1e12)  # its locks, and what any command of ours writes first
    before = hashes(world, "/.dvc/tmp/")
    found = gc(world.workspace, dry_run=True, spared_s=0)
    assert hashes(world, "/.dvc/tmp/") == before
    said = "\n".join(lines(found, dry_run=True))
    assert "would be freed\n" in said
    assert "could be freed: `headrace gc`" in said
    told = document(found, dry_run=True)
    done = gc(world.workspace, dry_run=False, spared_s=0)
    assert document(done, dry_run=False) == {**told, "dry_run": False}
    assert told["versions"] == [f"{MODEL}/1"]
    assert told["bytes"] == sum(row["bytes"] for row in told["freed"]) > 0


@pytest.mark.slow
def test_the_command(world: World) -> None:
    env = warm({**os.environ, "PYTHONPATH": str(ROOT)})
    world.train(0)
    world.train(1)

    def said(*options: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "gc", *options], cwd=world.root, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    for options in ([], ["--dry-run"]):
        told = json.loads(said(*options, "--json"))
        assert (told["dry_run"], told["versions"], told["freed"]) == (bool(options), [], [])
        assert {row["because"] for row in told["kept"]} >= {needed.YOUNG, "@challenger points at it"}
    assert said().endswith("nothing to free\n")
    assert not (world.var / "servers").exists()


def test_a_workspace_without_anything(working_graph: TinyGraph) -> None:
    assert list(lines(gc(working_graph.workspace, dry_run=True), dry_run=True)) == ["nothing to free"]
    assert not (working_graph.root / "var" / "mlflow").exists()


@pytest.mark.slow
def test_versions_that_others_share_stay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that MLFLOW_TRACKING_URI names is not ours alone; what made its versions stays in DVC's cache too."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{world.root.parent}/shared.db")
    monkeypatch.chdir(world.root.parent)  # where MLflow then keeps its files
    for which in range(2):
        world.train(which)
    lay_about(world)
    found = gc(world.workspace, dry_run=False, spared_s=0)
    assert found.notes == [f"left alone: versions in {server_name()}, which other clones may need"]
    assert {version for version in "12" if loads(world, version)} == {"1", "2"}
    assert not [thing for thing in found.things if thing.free and thing.what == "DVC objects"]
    assert not (world.var / "mlflow/downloads/m-0123").exists()


@pytest.mark.slow
def test_a_server_that_is_away_frees_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.train(0)
    world.train(1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    before = hashes(world, "/.dvc/tmp/", "/locks/", "boot.json")
    began = time.monotonic()
    with pytest.raises(HeadraceError, match="does not answer"):
        gc(world.workspace, dry_run=False, spared_s=0)
    assert time.monotonic() - began < 60
    assert hashes(world, "/.dvc/tmp/", "/locks/", "boot.json") == before


def test_a_size_as_people_read_it() -> None:
    assert [needed.size(n) for n in (0, 999, 1000, 1_540_000, 2.5e12, 3e15)] == [
        "0 B", "999 B", "1.0 KB", "1.5 MB", "2.5 TB", "3,000.0 TB",
    ]  # fmt: skip
