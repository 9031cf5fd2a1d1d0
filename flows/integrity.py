"""DVC's objects against their names: what a remote sends is hashed, and what rotted on this disk is found and dropped.

DVC hashes a file when it enters the cache and trusts its time from then on: a flipped bit is handed out as it is. So
every stage hashes the folders that it reads (pipelines.workspace.require_whole), and what fails there is mended here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.workspace import damage

_OWN_LEVELS = ("repo", "local")  # of DVC's settings: the workspace's own files


def verify_remotes(root: Path) -> list[str]:
    """Set `verify` for the workspace's remotes that say nothing of it; their names. Who wrote `false` is left alone."""
    from dvc.config import Config

    config = Config(dvc_dir=str(root / ".dvc"))
    changed = []
    for level in _OWN_LEVELS:
        silent = _silent(config.load_one(level))
        if silent:
            with config.edit(level) as settings:
                for name in silent:
                    settings["remote"][name]["verify"] = True
            changed += silent
    return changed


def verify_here(repo: Any) -> None:
    """The same for this process alone, the remotes of the user's own settings included."""
    levels = [repo.config.load_one(level) for level in repo.config.LEVELS if level in repo.config.files]
    said = {name for settings in levels for name, remote in settings["remote"].items() if "verify" in remote}
    for name, remote in repo.config["remote"].items():
        if name not in said:
            remote["verify"] = True


def drop_damaged(stage: Any) -> list[str]:
    """Remove the outputs of a stage of DVC's that are not what was written, with what is wrong in the cache; in words.

    What is gone, DVC makes anew. Reads every file.
    """
    return [f"{out}: {fault}" for out in stage.outs if (fault := _drop(out)) is not None]


def _silent(settings: dict[str, Any]) -> list[str]:
    return [name for name, remote in settings["remote"].items() if "url" in remote and "verify" not in remote]


def _drop(out: Any) -> str | None:
    place = Path(out.fs_path)
    if not (out.use_cache and out.hash_info and place.exists()):
        return None
    if place.is_dir():
        fault = damage(place) if (place / "manifest.json").exists() else None
    else:
        fault = None if _md5(place) == out.hash_info.value else "it is not what was written"
    if fault is None:
        return None
    for cached in list(objects(out.cache, out.hash_info.value)):
        if not is_whole(cached):
            cached.unlink()
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    return fault


def objects(cache: Any, oid: str) -> Iterator[Path]:
    """The files of DVC's cache that hold this output, as far as they are there."""
    whole = Path(cache.oid_to_path(oid))
    if oid.endswith(".dir") and whole.exists() and f"{_md5(whole)}.dir" == oid:
        files = (Path(cache.oid_to_path(entry["md5"])) for entry in json.loads(whole.read_text(encoding="utf-8")))
        yield from (file for file in files if file.exists())
    if whole.exists():
        yield whole


def is_whole(cached: Path) -> bool:
    """Whether an object of DVC's cache is what its name says."""
    return _md5(cached) == (cached.parent.name + cached.name).removesuffix(".dir")


def _md5(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
