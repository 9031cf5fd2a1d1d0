"""Folders of which one is live: ROOT/INDEX/VERSION/, and CURRENT with the live one's name.

A version is written beside, recorded (each file's sha256), renamed into place, and never changed after that. Readers
hold a shared lock on their version, so that it is removed only when the last of them is done.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pipelines.errors import BadRequest
from pipelines.workspace import (
    inside,
    is_name,
    make_folder,
    read_json,
    replacing,
    sha256_file,
    write_json,
    write_text,
)

VERSION = re.compile(r"[0-9a-f]{16}")
_RECORD = "whole.json"


@dataclass(frozen=True)
class Versions:
    root: Path

    def _of(self, index: str, version: str | None = None) -> Path:
        """The folder of an index, or of a version of it. Raises BadRequest for names that a receipt made up."""
        if not is_name(index) or not (version is None or VERSION.fullmatch(version)):
            raise BadRequest(
                f"no index is called {index[:80]!r}, or has no version {version!r}. `headrace index` publishes it anew."
            )
        return self.root / index / version if version else self.root / index

    def live(self, index: str) -> str | None:
        """What CURRENT names."""
        with suppress(FileNotFoundError):
            version = (self._of(index) / "CURRENT").read_text(encoding="utf-8").strip()
            return version if VERSION.fullmatch(version) else None
        return None

    def activate(self, index: str, version: str) -> None:
        write_text(self._of(index) / "CURRENT", version + "\n")

    @contextmanager
    def reading(self, index: str, version: str | None = None) -> Iterator[Path | None]:
        """A version's folder (by default the live one's), kept from being removed; None when missing or damaged."""
        while True:
            name = version or self.live(index)
            folder = self._of(index, name) if name else None
            if folder is None or not folder.is_dir():
                yield None
                return
            with _lock_file(folder).open("a") as file:
                _flock(file, fcntl.LOCK_SH)
                if folder.is_dir():
                    yield folder if _whole(folder) else None
                    return
            # removed between reading CURRENT and locking: look again

    @contextmanager
    def building(self, index: str) -> Iterator[None]:
        """One process at a time; others wait and say so."""
        make_folder(self._of(index))
        with (self._of(index) / "build.lock").open("a") as file:
            if not _flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                print(f"{index}: waiting for another process that is building it", file=sys.stderr, flush=True)
                _flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def new(self, index: str, version: str) -> Iterator[Path]:
        """An empty folder that becomes the version when the block ends well, in place of a damaged one."""
        with replacing(self._of(index, version)) as folder:
            yield folder
            write_json(folder / _RECORD, {"files": _hashes(folder)})

    def prune(self, index: str) -> list[str]:
        """Remove the versions that are neither live nor read; within building()."""
        return [version for version in self.superseded(index) if self.remove(index, version)]

    def superseded(self, index: str) -> list[str]:
        """The versions that are not live."""
        live = self.live(index)
        names = sorted(folder.name for folder in self._of(index).iterdir() if VERSION.fullmatch(folder.name))
        return [name for name in names if name != live]

    def is_read(self, index: str, version: str) -> bool:
        """Whether somebody reads a version now."""
        lock = _lock_file(self._of(index, version))
        if not lock.exists():
            return False
        with lock.open("a") as file:
            return not _flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self, index: str, version: str) -> bool:
        """Remove a version, unless somebody reads it; within building(). Returns whether it went."""
        return _removed(self._of(index, version))


def _removed(folder: Path) -> bool:
    with _lock_file(folder).open("a") as file:
        if not _flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
        shutil.rmtree(folder)
        _lock_file(folder).unlink()
    return True


def _lock_file(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _flock(file: IO[str], how: int) -> bool:
    try:
        fcntl.flock(file, how)
    except BlockingIOError:
        return False
    return True


def _hashes(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != _RECORD)
    return {path.relative_to(folder).as_posix(): sha256_file(path) for path in sorted(paths)}


def _whole(folder: Path) -> bool:
    """Every recorded file is as it was written; all are read.

    Files beyond those do not count: the engine writes its settings anew, beside and renamed, when a shard is opened.
    """
    try:
        files: dict[str, str] = read_json(folder / _RECORD)["files"]
        return all(sha256_file(inside(folder, name)) == sha256 for name, sha256 in files.items())
    except (BadRequest, KeyError, TypeError, AttributeError, OSError):
        return False
