"""What stands on the disk once counts once, however many names it has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.reflink import clone, share
from flows.cleanup import disk

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
