"""code: the Python files of this workspace -> data/code.json, one hash for each stage, task, source and reader.

The other stages name their key as a DVC param, so dvc.yaml names no file: an edit re-runs the stages that run the
edited file, and a file that no stage runs re-runs nothing. `headrace` and `dvc repro` run this stage first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.atomic_files import make_folder, said_in, sha256_file, sha256_json, write_json
from core.closure import BOUNDARY, closure, code_hash
from core.workspace import Workspace, find_workspace
from pipelines.tasks import task_files

CODE = "data/code.json"
EARLIER = "code"  # folder below var/: what code.json was before, by hash, so that `headrace status` can name a file
_KEPT = 20  # of those
_DIGITS = 12  # of a sha256
# Files that a stage packs or starts as programs of their own, without importing them.
PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "register": ("registry/version/pyfunc.py", "registry/version/rehearsal.py"),
    "readers.folders": ("pipelines/sources/_parsing.py",),
}
_REGISTERS = "register"  # what the registry holds is its output: there registry/store/ counts


def document(root: Path) -> dict[str, Any]:
    """What code.json says of a checkout: a stage's name -> hash; tasks, sources and readers by name; files by path."""
    found: dict[str, Any] = {}
    files: set[Path] = set()
    for key, start in _starts(root).items():
        run = _runs(root, key, start)
        files.update(run)
        group, _, name = key.rpartition(".")
        (found.setdefault(group, {}) if group else found)[name] = _short(code_hash(root, run))
    hashes = {path.relative_to(root).as_posix(): _short(sha256_file(path)) for path in sorted(files)}
    return {**found, "files": hashes}


def files_of(root: Path, key: str) -> set[str]:
    """The files behind a key: of a stage ("train"), of a task ("tasks.NAME"), of all sources ("sources")."""
    starts = {name: start for name, start in _starts(root).items() if name == key or name.startswith(f"{key}.")}
    return {path.relative_to(root).as_posix() for name, start in starts.items() for path in _runs(root, name, start)}


def _starts(root: Path) -> dict[str, Path]:
    """Each key of code.json, with the file whose imports are followed."""
    folder = root / "pipelines"
    listed: dict[str, Iterable[Path]] = {
        "tasks": task_files(folder / "tasks").values(),
        "sources": folder.glob("sources/*.py"),
        "readers": folder.glob("sources/readers/**/*.py"),
    }
    named = {(group, path.stem): path for group, paths in listed.items() for path in paths if path.stem[0] != "_"}
    stages = {path.parent.name: path for path in folder.glob("*/__main__.py")}
    return dict(sorted({**stages, **{".".join(key): path for key, path in named.items()}}.items()))


def _runs(root: Path, key: str, start: Path) -> list[Path]:
    """The files that a stage, task, source or reader runs and that can move an output."""
    boundary = [each for each in BOUNDARY if not (key == _REGISTERS and each.startswith("registry/"))]
    programs = [root / program for program in PROGRAMS.get(key, ())]
    return closure(root, start, *programs, boundary=boundary)


def changed_files(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The files that differ between two documents, new and gone ones too."""
    then, here = before.get("files", {}), now["files"]
    return sorted(path for path in then.keys() | here.keys() if then.get(path) != here.get(path))


def write(workspace: Workspace) -> None:
    """Write data/code.json; what it was before stays in var/code."""
    target = workspace.root / CODE
    before, now = said_in(target), document(workspace.root)
    if before and before != now:
        earlier = workspace.var / EARLIER
        make_folder(earlier)
        write_json(earlier / f"{_short(sha256_json(before))}.json", before)
        for old in sorted(earlier.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-_KEPT]:
            old.unlink(missing_ok=True)
    write_json(target, now)


def _short(digest: str) -> str:
    return digest[:_DIGITS]


if __name__ == "__main__":
    write(find_workspace())
