"""Where things lie in a workspace, and how files are replaced so that a crash leaves the old or the new, never half.

Names that come from elsewhere become places on this disk here and nowhere else: `Workspace.job` and `inside`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from pipelines.errors import BadData, BadRequest

Kind = Literal["recipe", "index"]
NAMES = "a letter, then up to 63 letters, digits, '-' and '_'"
_SETTINGS_FOLDER = {"recipe": "recipes", "index": "indexes"}
_OUTPUT_FOLDER = {"recipe": "data/models", "index": "data/indexes"}
_SEAL = "sha256"  # of the other keys of settings.json
_ALTERED = "Something else changed it, or the disk did. `headrace run` (`headrace index`) makes it anew."
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
        return self.workspace.root / _OUTPUT_FOLDER[self.kind] / self.name

    @property
    def settings(self) -> dict[str, Any]:
        """settings.json as the settings stage wrote it. Raises BadData when something else changed it, or the disk."""
        path = self.folder / "settings.json"
        settings: dict[str, Any] = read_json(path)
        seal = settings.pop(_SEAL, None)
        if seal is not None and seal != sha256_json(settings):
            raise BadData(f"{path} is not what its stage wrote. {_ALTERED}")
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


def read_json(path: Path) -> Any:
    """The document in a JSON file. Raises BadRequest when it is missing or torn."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadRequest(
            f"{path}: missing. Run the stage that writes it first (`dvc repro`, or `headrace run`)."
        ) from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"{path}:{error.lineno}: not JSON ({error.msg}). Delete it and run again.") from None
    except (ValueError, RecursionError) as error:  # not UTF-8; a number of 5,000 digits; a thousand brackets
        raise BadRequest(f"{path}: not JSON that can be read ({error}). Delete it and run again.") from None


def to_json(document: Any) -> str:
    """Canonical JSON: sorted keys, so that equal content has equal bytes."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Replace a file, synced to disk before it takes its name."""
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    swap_in(beside, path)


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read, from its first byte on."""
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    swap_in(beside, path)


def write_json(path: Path, document: Any) -> None:
    write_text(path, to_json(document))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, their names on disk: else a power cut takes them with all that is inside."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def swap_in(beside: Path, path: Path) -> None:
    """Give a finished file its name. It is on disk before: a rename alone survives a kill and not a power cut."""
    sync(beside)
    beside.replace(path)
    sync(path.parent)


def sync_tree(folder: Path) -> None:
    """Bring a folder and all in it to disk."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, and put it in its place when the block ends well.

    The files are on disk before the swap. When the block raises, `target` stands as it was.
    """
    beside, old = (target.with_name(f".{target.name}.{suffix}") for suffix in ("new", "old"))
    make_folder(target.parent)
    if old.exists() and not target.exists():  # killed between the two renames below
        old.replace(target)
    for leftover in (beside, old):
        shutil.rmtree(leftover, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        sync_tree(beside)
        if target.exists():
            target.replace(old)
        beside.replace(target)
        sync(target.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write manifest.json, the last file of a folder: its facts and the sha256 of every other file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    hashes = {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
    write_json(folder / "manifest.json", {**facts, "files": hashes})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a stage's output. Raises BadRequest when the folder has none: nothing reads half an output."""
    manifest: dict[str, Any] = read_json(folder / "manifest.json")
    return manifest


def said_in(path: Path) -> dict[str, Any]:
    """What an earlier run wrote into a JSON file; empty when it is missing, torn, or no object."""
    try:
        found = read_json(path)
    except BadRequest:
        return {}
    return found if isinstance(found, dict) else {}


def earlier_manifest(folder: Path) -> dict[str, Any]:
    """The manifest that an earlier run left; empty when there is none that can be read."""
    return said_in(folder / "manifest.json")


def as_recorded(path: Path, manifest: dict[str, Any]) -> bool:
    """Whether a file of a folder is what the folder's manifest says."""
    recorded = manifest.get("files", {}).get(path.name)
    return recorded is not None and path.is_file() and sha256_file(path) == recorded


def unchanged(folder: Path, of: str) -> dict[str, Any] | None:
    """The manifest of an output that was made of this very input (`of` in it), if every file is whole; else None."""
    manifest = earlier_manifest(folder)
    return manifest if manifest.get("of") == of and damage(folder) is None else None


def damage(folder: Path) -> str | None:
    """Which file of a folder is not what its manifest says, in words; None: every one is. Reads them all."""
    try:
        files = read_manifest(folder)["files"]
        for name, sha256 in files.items():
            file = inside(folder, name)
            if not file.is_file():
                return f"{name} is missing"
            if sha256_file(file) != sha256:
                return f"{name} is not what its manifest says"
    except (BadRequest, OSError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        return f"its manifest cannot be read ({error})"
    return None


def require_whole(folder: Path) -> dict[str, Any]:
    """The manifest of a stage's output, every file of which was hashed.

    Raises BadData, naming the file, when one is not what the stage wrote; BadRequest when there is no manifest.
    """
    manifest = read_manifest(folder)
    if (fault := damage(folder)) is not None:
        raise BadData(f"{folder}: {fault}. {_ALTERED}")
    return manifest


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(document: Any) -> str:
    return hashlib.sha256(to_json(document).encode()).hexdigest()


def sync(path: Path) -> None:
    """Bring what a file holds, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
