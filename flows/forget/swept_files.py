"""Every file of a workspace that holds a row, and what becomes of it: by where it lies."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core.workspace import Workspace
from flows.cleanup.gc import discard
from flows.cleanup.var_folders import MODEL, PLACES, place_of
from flows.forget.redact import redact, scrub_database
from flows.forget.row_copies import Held, Traces

Action = Literal["remove", "rewrite", "scrub", "keep"]

_NOT_WALKED = (".git", ".venv", "__pycache__")
STAYS: Mapping[Held, str] = {
    "said": "the row's id, with what a model answered about it: no text, and evidence is made of it",
    "other": "rows with other ids have the same text: forget them by theirs",
}
_YOURS = "your own file, or one of the workspace's: Headrace does not edit it"
_WEIGHTS = ("model", "base")  # outputs of a recipe
ENGINE = "var/qdrant"
_DATABASE = re.compile(r"(.+\.db)(-wal|-shm|-journal)?")


@dataclass(frozen=True)
class Fate:
    """What becomes of a file. what: its kind, in words. target: what is removed or written anew; why: it stays."""

    what: str
    action: Action
    target: Path
    why: str = ""


@dataclass
class Sweep:
    """One search of a workspace; files that a search before found clean and that did not change are not read again."""

    workspace: Workspace
    cache: Path
    _clean: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def look(self, traces: Traces) -> Iterator[tuple[Path, Fate]]:
        """Every file that holds the row, DVC's cache and git's objects aside."""
        for path in self.files():
            try:
                status = path.stat()
                seen = (status.st_mtime_ns, status.st_size)
                held = None if self._clean.get(path) == seen else traces.in_file(path)
            except FileNotFoundError:  # a server's temporary file
                continue
            except PermissionError:
                yield path, Fate("files", "keep", path, "it may not be read: not looked at")
                continue
            if held is None:
                self._clean[path] = seen
            else:
                yield path, self.fate(path, held)

    def files(self) -> Iterator[Path]:
        """Every file, links aside but those that DVC makes of its outputs into its cache."""
        own = [self.workspace.var / place.name for place in PLACES if place.forget == "not looked at"]
        for top, folders, files in os.walk(self.workspace.root):
            here, apart = Path(top), (self.cache.parent.parent, *own)
            folders[:] = [name for name in folders if name not in _NOT_WALKED and here / name not in apart]
            yield from (path for name in files if (path := here / name).is_file() and not self._leads_away(path))

    def _leads_away(self, path: Path) -> bool:
        return path.is_symlink() and not path.resolve().is_relative_to(self.cache.resolve())

    def fate(self, path: Path, held: Held) -> Fate:
        """What becomes of a file that holds the row."""
        if held in STAYS:
            return Fate("tables", "keep", path, STAYS[held])
        parts = path.relative_to(self.workspace.root).parts
        if parts[:2] in (("data", "models"), ("data", "indexes")) and len(parts) > 3:
            if parts[3] in _WEIGHTS:
                return Fate("models", "keep", path, MODEL)
            folder = self.workspace.root.joinpath(*parts[:4])
            return Fate("outputs of stages", "remove", path if parts[3] == "evaluation" else folder)
        if parts[0] == "var":
            return self._of_service(path, Path(*parts[1:]))
        if parts[:2] == (".dvc", "tmp"):
            return Fate("leftovers of DVC", "remove", path)
        return Fate("files", "keep", path, _YOURS)

    def _of_service(self, path: Path, below: Path) -> Fate:
        if match := _DATABASE.fullmatch(path.name):
            return Fate("databases", "scrub", path.with_name(match[1]))
        place, what = place_of(below), f"var/{below.parts[0]}"
        if place.forget == "rewrite":
            own = "/artifacts/model/" in path.as_posix() and "/evidence/" not in path.as_posix()
            return Fate("models", "keep", path, MODEL) if own else Fate("files of MLflow", "rewrite", path)
        if place.forget == "keep":
            return Fate(what, "keep", path, place.why)
        entry = self.workspace.var.joinpath(*below.parts[: len(Path(place.name).parts) + 1])
        return Fate(what, "remove", path if place.running else entry)


def is_vocabulary(name: str) -> bool:
    return name.rpartition("/")[2].startswith(("tokenizer", "vocab"))


def settle(fate: Fate, traces: Traces) -> bool:
    """Do what a fate says. Returns whether anything was changed."""
    if fate.action == "keep" or not fate.target.exists():
        return False
    if fate.action == "scrub":
        scrub_database(fate.target, traces)
    elif fate.action == "remove" or not redact(fate.target, traces):
        discard(fate.target)
    return True
