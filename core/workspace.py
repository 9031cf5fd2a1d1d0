"""Where things lie in a workspace: what a recipe or an index is called, and where its files are; who works there, when.

Names that come from elsewhere become places on this disk here and nowhere else: `Workspace.job` and `inside`.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from core.atomic_files import read_json, sha256_json, to_json
from core.errors import BadData, BadRequest

Kind = Literal["recipe", "index"]
NAMES = "a letter, then up to 63 letters, digits, '-' and '_'"
_SETTINGS_FOLDER = {"recipe": "recipes", "index": "indexes"}
OUTPUT_FOLDERS = {"recipe": "data/models", "index": "data/indexes"}
_SEAL = "sha256"  # of the other keys of settings.json
ALTERED = "Something else changed it, or the disk did. `headrace run` (`headrace index`) makes it anew."
_EXPERIMENTS = Path(".dvc") / "tmp" / "exps"
_LONGEST_NAME, _LONGEST_PATH = 255, 3000  # bytes of one part (ext4, xfs), characters of all below a folder
_SHOWN = 200  # characters of a refused name
_OWNER_ONLY = 0o700
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")

S = TypeVar("S")


@dataclass(frozen=True)
class Workspace:
    """A git checkout that holds dvc.yaml and params.yaml."""

    root: Path

    @property
    def var(self) -> Path:
        """Local service state. DVC runs experiments in a copy below .dvc/tmp: theirs is the original's."""
        head, found, _ = str(self.root).partition(f"{os.sep}{_EXPERIMENTS}{os.sep}")
        return (Path(head) if found else self.root) / "var"

    def job(self, kind: Kind, name: str) -> Job:
        """Raises BadRequest for what cannot be a name: names become paths, and words of commands."""
        if not is_name(name):
            raise BadRequest(f"{name!r} cannot be a name. Allowed: {NAMES}.")
        return Job(self, kind, name)


@dataclass(frozen=True)
class Job:
    """One recipe or index of a workspace, and the files that its stages meet in."""

    workspace: Workspace
    kind: Kind
    name: str

    @property
    def settings_file(self) -> Path:
        return self.workspace.root / _SETTINGS_FOLDER[self.kind] / f"{self.name}.yaml"

    @property
    def lock_file(self) -> Path:
        return self.settings_file.with_suffix(".lock")

    @property
    def folder(self) -> Path:
        return self.workspace.root / OUTPUT_FOLDERS[self.kind] / self.name

    @property
    def settings(self) -> dict[str, Any]:
        """settings.json as the settings stage wrote it. Raises BadData when something else changed it, or the disk."""
        path = self.folder / "settings.json"
        settings: dict[str, Any] = read_json(path)
        seal = settings.pop(_SEAL, None)
        if seal is not None and seal != sha256_json(settings):
            raise BadData(f"{path} is not what its stage wrote. {ALTERED}")
        return settings

    def section(self, name: str, model: type[S]) -> S:
        """One section of settings.json as a model or a dataclass; the settings stage has checked it already."""
        return TypeAdapter(model).validate_json(json.dumps(self.settings[name]))


def is_name(name: str) -> bool:
    """Whether a recipe or an index may be called so."""
    return _NAME.fullmatch(name) is not None


def inside(folder: Path, name: str) -> Path:
    """folder/name, for a name that somebody else wrote: a manifest, a store's listing, a cell of a table.

    Raises BadRequest for one that leads out of the folder or that no file can have: absolute, with "..", a backslash
    or NUL, empty, too long. Links are not followed; `leads_out` does.
    """
    if not _is_below(name):
        raise BadRequest(f"the name {name[:_SHOWN]!r} leads out of {folder}, or no file can have it. Take it out.")
    return folder / name


def _is_below(name: str) -> bool:
    try:
        parts = os.fsencode(name).split(b"/")
    except UnicodeEncodeError:  # half a character
        return False
    whole = bool(name) and parts[0] != b"" and not {b".", b".."} & set(parts) and not {"\0", "\\"} & set(name)
    return whole and len(name) <= _LONGEST_PATH and max(map(len, parts)) <= _LONGEST_NAME


def leads_out(path: Path, folder: Path) -> bool:
    """Whether a path, its links followed, ends outside of the folder; one that cannot be followed counts as outside."""
    try:
        found = path.resolve()
        found.exists()  # raises for a name that is too long, which resolve() takes as it is
        return not found.is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # too long, links in a circle, NUL
        return True


def expanded(written: str) -> Path:
    """A path as a person wrote it, `~` spelt out. Raises BadRequest for the home of nobody."""
    try:
        return Path(written).expanduser()
    except RuntimeError as error:
        raise BadRequest(f"the path {written!r}: {error}. Write it out.") from None


def sealed(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as they are written: with their hash, which `Job.settings` checks."""
    return {**settings, _SEAL: sha256_json(json.loads(to_json(settings)))}


def find_workspace(start: Path | None = None) -> Workspace:
    """The workspace that holds `start` (default: the current directory), closed to other users of the machine.

    Raises BadRequest outside one.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "params.yaml").is_file():
            _close(found := Workspace(folder))
            return found
    raise BadRequest(f"{here} is not inside a Headrace workspace (a git checkout with dvc.yaml and params.yaml).")


def _close(workspace: Workspace) -> None:
    """Let only the owner into what holds rows, databases and secrets; labels and keys hold over HTTP, not on the disk.

    DVC's folder holds every row too, in its cache. What cannot be changed (read-only, or another user's) stays.
    """
    for folder, make in ((workspace.var, True), (workspace.root / "data", True), (workspace.root / ".dvc", False)):
        with suppress(OSError):
            if make and not folder.exists():
                folder.mkdir(mode=_OWNER_ONLY)
            if stat.S_IMODE(folder.stat().st_mode) & ~_OWNER_ONLY:
                folder.chmod(_OWNER_ONLY)


def now() -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def somebody() -> str:
    """Who runs this process, as far as the machine knows."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
