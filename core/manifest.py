"""The manifest of a stage's output: the last file of a folder, with the sha256 of every other one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.atomic_files import read_json, said_in, sha256_file, write_json
from core.errors import BadData, BadRequest
from core.workspace import ALTERED, inside


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Write manifest.json, the last file of a folder: its facts and the sha256 of every other file."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    hashes = {path.relative_to(folder).as_posix(): sha256_file(path) for path in files}
    write_json(folder / "manifest.json", {**facts, "files": hashes})


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a stage's output. Raises BadRequest when the folder has none: nothing reads half an output."""
    manifest: dict[str, Any] = read_json(folder / "manifest.json")
    return manifest


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
        raise BadData(f"{folder}: {fault}. {ALTERED}")
    return manifest
