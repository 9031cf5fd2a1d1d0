"""DVC's objects against their names: what a remote sends is hashed, and what rotted on this disk is found and dropped.

DVC hashes a file when it enters the cache and trusts its time from then on: a flipped bit is handed out as it is. So
every stage hashes the folders that it reads (core.manifest.require_whole), and what fails there is mended here.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

from core.manifest import damage
from core.workspace import inside

_BLOCK = 1 << 20  # bytes read at once
_MD5 = re.compile(r"[0-9a-f]{32}")
_OWN_LEVELS = ("repo", "local")  # of DVC's settings: the workspace's own files


def keep_inside() -> None:
    """Let DVC refuse, in this process, a list of a folder's files (`.dir`) with a name that leads out of the folder.

    DVC (3.67) joins such names to the folder as they are, and does not hash the lists that a remote sends: `dvc
    checkout` would write anywhere.
    """
    from dvc_data.hashfile import tree

    lists: Any = tree.Tree
    plain = lists.from_list.__func__
    if plain.__module__ == __name__:
        return

    def from_list(cls: Any, entries: list[Any], hash_name: str | None = None) -> Any:
        for entry in entries:
            inside(Path("a folder that DVC tracks"), str(entry[cls.PARAM_RELPATH]))
        return plain(cls, entries, hash_name=hash_name)

    lists.from_list = classmethod(from_list)


def verify_remotes(root: Path) -> list[str]:
    """Set `verify` for the workspace's remotes that say nothing of it; their names. Who wrote `false` is left alone."""
    from dvc.config import Config

    config = Config(dvc_dir=str(root / ".dvc"))
    changed = []
    for level in _OWN_LEVELS:
        remotes = config.load_one(level)["remote"].items()
        silent = [name for name, remote in remotes if "url" in remote and "verify" not in remote]
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


def trace(repo: Any, oid: str) -> tuple[Literal["verified", "missing", "mismatch"], str]:
    """Hash every object of an output, in the cache or else in the default remote; what is wrong, in words.

    oid: DVC's md5; with ".dir" a folder's list, whose files are looked at too.
    """
    asked = [oid]
    while asked:
        each = asked.pop()
        if (kept := _kept(repo, each)) is None:
            return "missing", f"object {each[:12]} is neither in DVC's cache nor in its remote"
        fs, path, place = kept
        with fs.open(path, "rb") as file:
            if _md5(file) != each.removesuffix(".dir"):
                return "mismatch", f"object {each[:12]} in {place} is not what its name says"
        if each.endswith(".dir"):
            with fs.open(path, "rb") as file:
                asked += [entry["md5"] for entry in json.loads(file.read())]
    return "verified", ""


def object_of(repo: Any, oid: str, name: str) -> Path | None:
    """The file in DVC's cache that a folder's output has under a name; None when it is not there."""
    listing = Path(repo.cache.local.oid_to_path(oid))
    if not listing.exists():
        return None
    md5 = next((e["md5"] for e in json.loads(listing.read_text(encoding="utf-8")) if e["relpath"] == name), None)
    file = Path(repo.cache.local.oid_to_path(md5)) if md5 else None
    return file if file is not None and file.exists() else None


def remote_store(repo: Any) -> Any:
    """DVC's store of the default remote; None without one."""
    return repo.cloud.get_remote_odb() if repo.config["core"].get("remote") else None


def _kept(repo: Any, oid: str) -> tuple[Any, str, str] | None:
    """What is kept under an oid, in the cache or else in the default remote: file system, path, and place in words."""
    cache = repo.cache.local
    if cache.fs.exists(path := cache.oid_to_path(oid)):
        return cache.fs, path, path
    odb = remote_store(repo)
    if odb is not None and odb.fs.exists(path := odb.oid_to_path(oid)):
        return odb.fs, path, f"the remote ({path})"
    return None


def _drop(out: Any) -> str | None:
    place = Path(out.fs_path)
    if not (out.use_cache and out.hash_info and place.exists()):
        return None
    if place.is_dir():
        fault = damage(place) if (place / "manifest.json").exists() else None
    else:
        fault = None if md5_file(place) == out.hash_info.value else "it is not what was written"
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
    if oid.endswith(".dir") and whole.exists() and f"{md5_file(whole)}.dir" == oid:
        oids = [str(entry["md5"]) for entry in json.loads(whole.read_text(encoding="utf-8"))]
        files = (Path(cache.oid_to_path(oid)) for oid in oids if _MD5.fullmatch(oid))
        yield from (file for file in files if file.exists())
    if whole.exists():
        yield whole


def is_whole(cached: Path) -> bool:
    """Whether an object of DVC's cache is what its name says."""
    return md5_file(cached) == (cached.parent.name + cached.name).removesuffix(".dir")


def md5_file(file: Path) -> str:
    with file.open("rb") as content:
        return _md5(content)


def _md5(content: IO[bytes]) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    while block := content.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()
