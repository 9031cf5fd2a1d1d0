"""Folders of which one is live: ROOT/INDEX/VERSION/, and CURRENT with the names of the live one and the one before it.

A version is written beside, recorded (each file's content hash), renamed into place, and never changed after that.
Readers hold a shared lock on their version, so that it is removed only when the last of them is done.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from core.atomic_files import read_json, replacing, write_json
from core.errors import BadRequest
from core.file_locks import held, lock_file, take
from core.workspace import Workspace, inside, is_name
from pipelines.search.engine import sparse_files

VERSION = re.compile(r"[0-9a-f]{16}")
_RECORD = "whole.json"


@dataclass(frozen=True)
class Pointers:
    """Which versions of an index have a part to play.

    live: the one that is searched. previous: the one before it, kept for `rollback`. withdrawn: the one that a rollback
    put out of service, which `publish` does not bring back by itself.
    """

    live: str | None = None
    previous: str | None = None
    withdrawn: str | None = None

    def released(self, version: str) -> Pointers:
        """With another live version."""
        return self if version == self.live else Pointers(live=version, previous=self.live)

    def rolled_back(self) -> Pointers:
        """With the previous version live again; once more brings this one back. Raises BadRequest without one."""
        if self.previous is None:
            raise BadRequest("there is no version before the live one to go back to.")
        return Pointers(live=self.previous, previous=self.live, withdrawn=self.live)

    @property
    def kept(self) -> set[str]:
        """What must not be removed."""
        return {each for each in (self.live, self.previous) if each}


@dataclass(frozen=True)
class Versions:
    root: Path

    @classmethod
    def embedded(cls, workspace: Workspace) -> Versions:
        return cls(workspace.var / "qdrant")

    def _of(self, index: str, version: str | None = None) -> Path:
        """The folder of an index, or of a version of it. Raises BadRequest for names that a receipt made up."""
        if not is_name(index) or not (version is None or VERSION.fullmatch(version)):
            raise BadRequest(
                f"no index is called {index[:80]!r}, or has no version {version!r}. `headrace index` publishes it anew."
            )
        return self.root / index / version if version else self.root / index

    def pointers(self, index: str) -> Pointers:
        """What CURRENT names; nothing when there is none, or it is torn: then `publish` writes it anew."""
        try:
            said = json.loads((self._of(index) / "CURRENT").read_text(encoding="utf-8"))
            named = {key: said.get(key) for key in asdict(Pointers())}
        except (FileNotFoundError, ValueError, AttributeError):
            return Pointers()
        return Pointers(**{key: name for key, name in named.items() if name and VERSION.fullmatch(str(name))})

    def live(self, index: str) -> str | None:
        return self.pointers(index).live

    def point(self, index: str, pointers: Pointers) -> None:
        """In one step: a reader sees the old names or the new ones. Whoever else moves them is waited for."""
        with held(self._of(index) / "point.lock"):  # processes that build a lost cache at once end at the same time
            write_json(self._of(index) / "CURRENT", asdict(pointers))

    @contextmanager
    def reading(self, index: str, version: str | None = None) -> Iterator[Path | None]:
        """A version's folder (by default the live one's), kept from being removed; None when missing or damaged."""
        while True:
            name = version or self.live(index)
            folder = self._of(index, name) if name else None
            if folder is None or not folder.is_dir():
                yield None
                return
            with lock_file(_lock_of(folder)) as file:
                take(file, shared=True)
                if folder.is_dir():
                    yield folder if _whole(folder) else None
                    return
            # removed between reading CURRENT and locking: look again

    @contextmanager
    def building(self, index: str) -> Iterator[None]:
        """One process at a time; others wait and say so."""
        with lock_file(self._of(index) / "build.lock") as file:
            if not take(file, wait=False):
                print(f"{index}: waiting for another process that is building it", file=sys.stderr, flush=True)
                take(file)
            yield

    @contextmanager
    def new(self, index: str, version: str) -> Iterator[Path]:
        """An empty folder that becomes the version when the block ends well, in place of a damaged one."""
        with replacing(self._of(index, version)) as folder:
            yield folder
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            hashes = {path.relative_to(folder).as_posix(): sparse_files.digest(path) for path in paths}
            write_json(folder / _RECORD, {"files": hashes})

    @staticmethod
    def copy(version: Path, target: Path) -> None:
        """What a whole version consists of, into an empty folder; not what the engine writes beside it for a reader."""
        for name in read_json(version / _RECORD)["files"]:
            copied = inside(target, name)
            copied.parent.mkdir(parents=True, exist_ok=True)
            sparse_files.copy(inside(version, name), copied)

    def prune(self, index: str) -> list[str]:
        """Remove the versions that no pointer keeps and nobody reads; within building()."""
        kept = self.pointers(index).kept
        return [each for each in self.superseded(index) if each not in kept and self.remove(index, each)]

    def superseded(self, index: str) -> list[str]:
        """The versions that are not live."""
        live = self.live(index)
        names = sorted(folder.name for folder in self._of(index).iterdir() if VERSION.fullmatch(folder.name))
        return [name for name in names if name != live]

    def is_read(self, index: str, version: str) -> bool:
        """Whether somebody reads a version now."""
        lock = _lock_of(self._of(index, version))
        if not lock.exists():
            return False
        with lock_file(lock) as file:
            return not take(file, wait=False)

    def remove(self, index: str, version: str) -> bool:
        """Remove a version that is not live, unless somebody reads it; within building(). Returns whether it went."""
        folder = self._of(index, version)
        with lock_file(_lock_of(folder)) as file:
            if not take(file, wait=False):
                return False
            shutil.rmtree(folder)
            _lock_of(folder).unlink()
        pointers = self.pointers(index)
        if version == pointers.previous:
            self.point(index, Pointers(live=pointers.live, withdrawn=pointers.withdrawn))
        return True


# --- what the embedded engine holds, live or not, for `headrace gc`; a server's is never touched ---


@dataclass(frozen=True)
class Standing:
    """A version of an index, as it lies here."""

    index: str
    version: str
    folder: Path
    live: bool
    previous: bool  # what a rollback goes back to
    read: bool  # by somebody, now


def standing(workspace: Workspace) -> Iterator[Standing]:
    """Every version of every index that was published here, of retired ones too."""
    versions = Versions.embedded(workspace)
    for folder in sorted(versions.root.iterdir()) if versions.root.is_dir() else ():
        if folder.is_dir() and is_name(folder.name):
            pointers = versions.pointers(folder.name)
            for each in sorted(folder.iterdir()):
                if VERSION.fullmatch(each.name):
                    read = versions.is_read(folder.name, each.name)
                    live, previous = each.name == pointers.live, each.name == pointers.previous
                    yield Standing(folder.name, each.name, each, live, previous, read)


def remove(workspace: Workspace, index: str, version: str) -> bool:
    """Remove a version that is not live, unless somebody reads it. Returns whether it went."""
    versions = Versions.embedded(workspace)
    with versions.building(index):
        return version in versions.superseded(index) and versions.remove(index, version)


def take_down(workspace: Workspace, index: str) -> bool:
    """Remove an index that is not live any more, whole, unless somebody reads it. Returns whether it went."""
    versions = Versions.embedded(workspace)
    with versions.building(index):
        (versions.root / index / "CURRENT").unlink(missing_ok=True)
        removed = [versions.remove(index, version) for version in versions.superseded(index)]
        return False not in removed


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def _whole(folder: Path) -> bool:
    """Every recorded file is as it was written; all are read."""
    try:
        files: dict[str, str] = read_json(folder / _RECORD)["files"]
        return all(sparse_files.digest(inside(folder, name)) == recorded for name, recorded in files.items())
    except (BadRequest, KeyError, TypeError, AttributeError, OSError):
        return False
