"""A disk at a power cut: what was not synced is lost, as far as POSIX allows. What processes do is written down.

What a file holds is on disk once it was synced after its last change; the name of a new or renamed file or folder, once
its folder was. Removals are in a journal's order: a later sync of anything keeps them. SQLite syncs in C, where nobody
sees it: its files are left as they are.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SQLITE = (".db", ".db-journal", ".db-wal", ".db-shm")
_LEFT_ALONE = {".git", "core", "flows", "pipelines", "registry"}  # in the root: no run writes there
# What Python tells of names that come and go: what it is, and at which argument the name and its folder's handle stand.
_EVENTS = {
    "open": ("create", 0, 3), "os.link": ("create", 1, 3), "os.symlink": ("create", 1, 2), "os.mkdir": ("create", 0, 2),
    "os.rename": ("rename", 1, 3), "os.remove": ("remove", 0, 1), "os.rmdir": ("rmdir", 0, 1),
}  # fmt: skip
Facts = tuple[int, int, int]  # inode, time of the last change in ns, bytes
Done = dict[str, Any]  # a line of the journal


class Watch:
    """In a process: appends what it does to ROOT.journal, before it is done (a sync: after)."""

    def __init__(self, root: Path) -> None:
        self.root, self.busy, self.graves = root, threading.local(), itertools.count()
        self.journal = os.open(f"{root}.journal", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        Path(f"{root}.graves").mkdir(exist_ok=True)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An event of Python's (sys.addaudithook)."""
        if event not in _EVENTS or getattr(self.busy, "now", False):
            return
        self.busy.now = True
        try:
            self._note(event, arguments)
        finally:
            self.busy.now = False

    def synced(self, path: Path) -> None:
        """A file or folder that is on disk now: what it holds, or which names."""
        if path.is_relative_to(self.root):
            names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else None
            self._say(do="sync", facts=_facts(path.stat()), names=names)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        what, at, handle = _EVENTS[event]
        if event == "open" and not arguments[2] & os.O_CREAT:
            return
        path = self._path(arguments[at], arguments[handle] if event != "open" else -1)
        if path is None or (what == "create" and path.exists()):
            return
        about: Done = {"do": what, "path": str(path), "folder": path.parent.stat().st_ino, "gone": self._buried(path)}
        if what == "rename" and (source := self._path(arguments[0], arguments[2])) is not None:
            about |= {"source": str(source), "source_folder": source.parent.stat().st_ino}
        self._say(**about)

    def _say(self, **what: Any) -> None:
        os.write(self.journal, (json.dumps(what) + "\n").encode())

    def _buried(self, path: Path) -> str | None:
        """A second name, out of reach, for a file that is about to lose its own."""
        if not path.is_file() or path.is_symlink():
            return None
        grave = f"{self.root}.graves/{os.getpid()}-{next(self.graves)}"
        os.link(path, grave)
        return grave

    def _path(self, name: Any, handle: int) -> Path | None:
        """Below the root, or None."""
        if not isinstance(name, str | bytes | os.PathLike):
            return None
        path = Path(os.readlink(f"/proc/self/fd/{handle}") if handle >= 0 else Path.cwd(), os.fsdecode(name))  # noqa: PTH115
        return path if path.is_relative_to(self.root) and not _untouched(path, self.root) else None


def watch(root: Path) -> None:
    """Write down, from here on, what this process and those that it forks do below root."""
    watching, real, real_of_all = Watch(root), os.fsync, os.sync

    def fsync(file: Any) -> None:
        descriptor = file if isinstance(file, int) else file.fileno()
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115
        sys.audit("os.fsync", str(path))  # Python tells nobody of it, and a trap may wait for it
        real(descriptor)
        watching.synced(path)

    def sync() -> None:
        real_of_all()
        for path in _walk(root):
            watching.synced(path)

    os.fsync, os.sync = fsync, sync  # type: ignore[assignment]
    sys.addaudithook(watching.hear)


@dataclass
class Disk:
    """What was on disk when the journal began, and the power cut at its end."""

    root: Path
    files: dict[int, Facts] = field(default_factory=dict)  # by inode: as it was synced last
    names: dict[int, set[str]] = field(default_factory=dict)  # by a folder's inode

    def begin(self) -> None:
        """All that is there now counts as synced; the journal is empty."""
        Path(f"{self.root}.journal").write_text("")
        shutil.rmtree(f"{self.root}.graves", ignore_errors=True)
        self.files, self.names = {}, {}
        for path in _walk(self.root):
            self._know(_facts(path.stat()), [each.name for each in path.iterdir()] if path.is_dir() else None)

    def cut(self, draw: random.Random | None = None) -> list[str]:
        """Lose what was not synced: all of it, or what is drawn. Returns what was lost, in words."""
        done: list[Done] = [json.loads(line) for line in Path(f"{self.root}.journal").read_text().splitlines()]
        pending: dict[int, list[int]] = defaultdict(list)  # by folder: what was done in it since it was synced
        last_sync = max((number for number, each in enumerate(done) if each["do"] == "sync"), default=-1)
        for number, each in enumerate(done):
            if each["do"] == "sync":
                self._know(tuple(each["facts"]), each["names"])
                if each["names"] is not None:
                    pending.pop(each["facts"][0], None)
            elif each["do"] in ("create", "rename") or number > last_sync:
                pending[each["folder"]].append(number)
        lost = [word for number in _undone(pending, draw) if (word := self._undo(done[number]))]
        heard = {(each["folder"], Path(each["path"]).name) for each in done if each["do"] != "sync"}
        return [*lost, *self._forget_unheard(heard, draw), *self._forget_content(draw)]

    def _know(self, facts: Facts, names: list[str] | None) -> None:
        if names is None:
            self.files[facts[0]] = facts
        else:
            self.names[facts[0]] = set(names)

    def _undo(self, done: Done) -> str | None:
        """What it was, in words; None when a process was killed before it did it."""
        path = self._now(done["path"], done["folder"])
        if path is None or path.exists() != (done["do"] in ("create", "rename")):
            return None
        if done["do"] == "create":
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        elif done["do"] == "rmdir":
            path.mkdir()
        elif done["do"] == "rename":
            source = self._now(done["source"], done["source_folder"])
            if source is None or source.exists():
                return None
            path.replace(source)
        if done["gone"]:
            Path(done["gone"]).replace(path)
        return f"{done['do']} {path.relative_to(self.root)}"

    def _now(self, path: str, folder: int) -> Path | None:
        """Where a name stands now: its folder may have been renamed since."""
        then = Path(path)
        if then.parent.is_dir() and then.parent.stat().st_ino == folder:
            return then
        found = (each for each in _walk(self.root) if each.is_dir() and each.stat().st_ino == folder)
        return place / then.name if (place := next(found, None)) else None

    def _forget_unheard(self, heard: set[tuple[int, str]], draw: random.Random | None) -> Iterator[str]:
        """Remove files that libraries made in their own ways in folders that were not synced since."""
        for path in list(_walk(self.root)):
            folder = path.parent.stat().st_ino
            known = path.name in self.names.get(folder, set()) or (folder, path.name) in heard
            if path.is_file() and not known and _is_lost(draw):
                path.unlink()
                yield f"name {path.relative_to(self.root)}"

    def _forget_content(self, draw: random.Random | None) -> Iterator[str]:
        """Empty, or cut short, what was not synced since it was changed."""
        for path in _walk(self.root):
            about = path.stat()
            if path.is_dir() or not about.st_size or self.files.get(about.st_ino) == _facts(about):
                continue
            if _is_lost(draw):
                os.truncate(path, 0 if draw is None or draw.random() < 0.7 else about.st_size // 2)
                os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
                yield f"content {path.relative_to(self.root)}"


def _undone(pending: dict[int, list[int]], draw: random.Random | None) -> list[int]:
    """In each folder what was done last, the latest first: a disk keeps a folder's order."""
    left = [numbers[0 if draw is None else draw.randint(0, len(numbers)) :] for numbers in pending.values()]
    return sorted(itertools.chain(*left), reverse=True)


def _is_lost(draw: random.Random | None) -> bool:
    return draw is None or draw.random() < 0.5


def _walk(root: Path) -> Iterator[Path]:
    """The root and what stands below it, links and what is left alone aside."""
    yield root
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not _untouched(Path(folder, name), root)]
        paths = (Path(folder, name) for name in (*folders, *files))
        yield from (path for path in paths if not _untouched(path, root) and not path.is_symlink())


def _untouched(path: Path, root: Path) -> bool:
    return path.name.endswith(_SQLITE) or bool(_LEFT_ALONE.intersection(path.relative_to(root).parts[:1]))


def _facts(about: os.stat_result) -> Facts:
    return about.st_ino, about.st_mtime_ns, about.st_size
