"""Flipped bits in a DVC remote, in DVC's cache and in the workspace: found before use, named, and made anew."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import Workspace
from tests.tiny_graph import TinyGraph, make_tiny_graph

pytestmark = pytest.mark.usefixtures("warm_children")

_OBJECTS = 100


def flip_a_bit(file: Path) -> None:
    """As a disk rots: the content changes, the file's time does not."""
    before = file.stat()
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def objects(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file() and len(path.parent.name) == 2)


def wrong(store: Path) -> list[Path]:
    """The objects that are not what their names say."""
    return [
        path for path in objects(store) if path.parent.name + path.stem != hashlib.md5(path.read_bytes()).hexdigest()
    ]


@pytest.fixture
def tiny_graph(tmp_path: Path) -> TinyGraph:
    return make_tiny_graph(tmp_path / "w")


@pytest.fixture
def store(tiny_graph: TinyGraph) -> Path:
    """A remote that holds a folder of a hundred files, and a clone's view of nothing but it."""
    tiny_graph.dvc("remote", "add", "-q", "-d", "store", "../store")
    for number in range(_OBJECTS):
        tiny_graph.write(f"folder/{number}.txt", f"file {number}\n" * 20)
    assert tiny_graph.dvc("add", "-q", "folder").returncode == 0
    assert tiny_graph.dvc("push", "-q", "folder.dvc").returncode == 0
    shutil.rmtree(tiny_graph.root / "folder")
    shutil.rmtree(tiny_graph.root / ".dvc" / "cache")
    return tiny_graph.root.parent / "store"


def test_a_hundred_flipped_objects_of_a_remote_are_found(tiny_graph: TinyGraph, store: Path) -> None:
    from flows.graph.rot import verify_remotes

    assert verify_remotes(tiny_graph.root) == ["store"]
    flipped = [path for path in objects(store) if path.suffix != ".dir"]
    assert len(flipped) == _OBJECTS
    for path in flipped:
        flip_a_bit(path)
    done = tiny_graph.dvc("pull")
    assert done.returncode != 0 and "folder" in done.stderr
    cache = tiny_graph.root / ".dvc" / "cache"
    assert not wrong(cache)
    assert [path.suffix for path in objects(cache)] == [".dir"]  # none of the hundred came in
    assert not (tiny_graph.root / "folder").exists()


def test_without_verify_they_would_be_used(tiny_graph: TinyGraph, store: Path) -> None:
    """Or the test above would show nothing."""
    tiny_graph.dvc("remote", "modify", "store", "verify", "false")
    for path in objects(store)[:10]:
        if path.suffix != ".dir":
            flip_a_bit(path)
    tiny_graph.dvc("pull")
    assert wrong(tiny_graph.root / ".dvc" / "cache")


def test_verify_is_set_once_and_a_persons_word_counts(tiny_graph: TinyGraph) -> None:
    from flows.graph.rot import verify_remotes

    for name in ("one", "two"):
        tiny_graph.dvc("remote", "add", "-q", name, f"../{name}")
    tiny_graph.dvc("remote", "modify", "two", "verify", "false")
    tiny_graph.dvc("remote", "add", "-q", "--local", "mine", "../mine")
    assert verify_remotes(tiny_graph.root) == ["one", "mine"]
    assert verify_remotes(tiny_graph.root) == []
    said = tiny_graph.dvc("config", "--list").stdout
    assert "remote.one.verify=True" in said and "remote.two.verify=false" in said and "remote.mine.verify=True" in said


@pytest.mark.slow
def test_a_flipped_bit_in_settings_is_named_and_made_anew(tiny: Workspace) -> None:
    """One that leaves JSON, and a value that would do."""
    from flows.graph.graph import Graph

    assert tiny.dvc("repro", "collect@tiny").returncode == 0
    file = tiny.path("data/models/tiny/settings.json")
    right, before = file.read_text(), file.stat()
    file.write_text(right.replace('"batch_size": 16', '"batch_size": 17'))
    assert file.read_text() != right
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    stopped = tiny.stage("validate", "tiny")
    assert (stopped.returncode, "settings.json is not what its stage wrote" in stopped.stderr) == (3, True)
    Graph(tiny.root).reproduce("validate@tiny")
    assert file.read_text() == right


@pytest.mark.slow
def test_what_rotted_on_the_disk_is_named_and_made_anew(tiny: Workspace) -> None:
    """In an output and in DVC's cache alike: the stage that reads it stops, `headrace run` makes it anew."""
    from flows.graph.graph import Graph

    assert tiny.dvc("repro", "preprocess@tiny").returncode == 0
    right = tiny.hashes("data/models/tiny")
    cache = tiny.path(".dvc/cache/files")
    for rotten, reader in (("raw/examples.parquet", "validate"), ("validated/profile.json", "preprocess")):
        file = tiny.path("data/models/tiny", rotten)
        (kept,) = [path for path in objects(cache) if path.read_bytes() == file.read_bytes()]
        for copy in (file, kept):
            flip_a_bit(copy)
        shutil.rmtree(tiny.path(".dvc/cache/runs"), ignore_errors=True)
        stopped = tiny.dvc("repro", "--single-item", "--force", f"{reader}@tiny")
        assert stopped.returncode != 0 and Path(rotten).name in stopped.stderr, stopped.stderr
        assert Graph(tiny.root).reproduce(f"{reader}@tiny", force=True) == "ran"
        assert tiny.hashes("data/models/tiny") == right
        assert not wrong(cache)
