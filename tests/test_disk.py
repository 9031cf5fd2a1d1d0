"""What stands on the disk once counts once, however many names it has."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from core.reflink import clone, share
from core.workspace import Workspace
from flows.cleanup import disk
from flows.graph.graph import Graph

CONTENT = os.urandom(4_000_000)


def taken(*folders: Path) -> int:
    found: disk.Taken = {}
    for folder in folders:
        found |= disk.taken(folder)
    return sum(found.values())


def write(file: Path, content: bytes = CONTENT) -> Path:
    """A file whose blocks are on the disk: before that a file system may not know which they are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as out:
        out.write(content)
        os.fsync(out.fileno())
    return file


def test_a_file_counts_by_its_blocks_and_a_link_not_again(tmp_path: Path) -> None:
    file = write(tmp_path / "a" / "file")
    assert taken(tmp_path / "a") == pytest.approx(len(CONTENT), abs=10_000)
    (tmp_path / "b").mkdir()
    os.link(file, tmp_path / "b" / "again")
    assert taken(tmp_path / "b") == taken(tmp_path / "a") == taken(tmp_path / "a", tmp_path / "b")
    with (tmp_path / "a" / "hole").open("wb") as hole:
        hole.truncate(50_000_000)
    assert taken(tmp_path / "a", tmp_path / "b") == pytest.approx(len(CONTENT), abs=10_000)
    assert taken(tmp_path / "nothing") == 0


def test_a_clone_is_a_copy(tmp_path: Path) -> None:
    """Where the file system can (btrfs, xfs), the two share blocks until one is written."""
    file = write(tmp_path / "a" / "file")
    write(tmp_path / "copied" / "deep" / "file")
    write(tmp_path / "source" / "deep" / "file")
    write(tmp_path / "copied" / "other", b"other")
    clone(file, tmp_path / "a" / "clone")
    write(tmp_path / "copied" / "deep" / ".file.new", b"of a process that was killed")
    share(tmp_path / "source", tmp_path / "copied")
    assert {path.name for path in (tmp_path / "copied").rglob("*")} == {"deep", "file", "other"}
    for twin in (tmp_path / "a/clone", tmp_path / "copied/deep/file"):
        assert twin.read_bytes() == CONTENT
    with (tmp_path / "a" / "clone").open("r+b") as written:
        written.write(b"changed")
    assert file.read_bytes() == CONTENT


def test_folders_that_are_links_to_another_disk_count_as_folders_do(tmp_path: Path) -> None:
    """data, the cache and var/ are moved so where a disk is small."""
    (tmp_path / "w").mkdir()
    for name in ("data", "cache", "var"):
        write(tmp_path / "large" / name / "logs" / "file")
        (tmp_path / "w" / name).symlink_to(tmp_path / "large" / name)
    found = disk.disk(Workspace(tmp_path / "w"), cast(Graph, SimpleNamespace(cache=tmp_path / "w" / "cache")))
    one = disk.taken(tmp_path / "large" / "data")
    assert {found[name] for name in ("data", "cache", "var")} == {sum(one.values())}
    assert found["together"] == 3 * found["data"]
    assert found["in_var"] == {"logs": found["var"]}
