"""A version's workspace laid out again in a folder of its own: commit, patch, what was kept with it, data."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.atomic_files import make_folder, read_json, write_json, write_text
from core.errors import BadRequest
from core.git import git
from core.weights.base_store import STORE, base_folder
from core.workspace import Job, Workspace
from flows.graph.dvc import share_cache, write_yaml
from flows.graph.graph import Graph
from pipelines.evidence.provenance import is_commit, may_patch
from registry.cleanup.held_versions import base_of
from registry.store import versions
from registry.store.connection import artifacts, database, embedded_uri, is_embedded
from registry.version.evidence_files import LOCK, RECIPE, RECIPE_LOCK, SETTINGS, Altered

_MOVED = re.compile(rb"^(?:rename|copy) (?:from|to) (.+)$", re.MULTILINE)
_ESCAPED = re.compile(r"\\([0-7]{3}|.)")
_BY_LETTER = {"n": "\n", "t": "\t"}


@dataclass(frozen=True)
class Origin:
    """What a version is made of again. kept: files by name, compared. patch: what its commit lacked."""

    recipe: str
    commit: str
    kept: Mapping[str, Path]
    patch: Path | None


def lay_out(workspace: Workspace, origin: Origin, root: Path) -> Job:
    """A clone at the commit, with what was kept in its place, nothing live but its recipe, and the rows it had.

    The rows come by their hashes from the workspace's cache or, what is not there, from its remote; the clone has no
    remote and no password. Raises BadRequest for a commit or a patch that is none, HeadraceError for rows that are
    gone.
    """
    git(workspace.root, "clone", "--quiet", "--no-checkout", str(workspace.root), str(root))
    git(root, "checkout", "--quiet", "--detach", origin.commit)
    if origin.patch is not None:
        apply(origin.patch.resolve(), root)
    job = Workspace(root).job("recipe", origin.recipe)
    settings, lock = read_json(origin.kept[SETTINGS]), read_json(origin.kept[LOCK])
    write_text(job.settings_file, origin.kept[RECIPE].read_text(encoding="utf-8"))
    write_text(job.lock_file, origin.kept[RECIPE_LOCK].read_text(encoding="utf-8"))
    entry = {"task": settings.get("task"), "watch": f"recipes/{job.name}.lock"}
    write_yaml(root / "params.yaml", {"recipes": {job.name: entry}, "indexes": {}})
    write_yaml(root / "dvc.lock", {"schema": "2.0", "stages": lock})
    write_json(job.folder / SETTINGS, settings)
    share_cache(root, (own := Graph(workspace.root)).cache)
    Graph(root, like=own).pull(f"collect@{job.name}")
    return job


def apply(patch: Path, root: Path) -> None:
    """Apply a patch that names code and recipes only. Raises BadRequest for any other, before anything is written."""
    names = list(_names(patch, root))
    if strange := [name for name in names if not may_patch(name)]:
        raise BadRequest(f"{patch.name} changes {strange[0]!r}: it may change code and recipes of the clone, no more.")
    git(root, "apply", "--whitespace=nowarn", str(patch))
    if links := [name for name in names if (root / name).is_symlink()]:
        raise BadRequest(f"{patch.name} makes {links[0]!r} a link. It may not lead anywhere.")


def commit_of(version: versions.Version, told: Mapping[str, Any] | None) -> str:
    """The commit that a version was made from: by its evidence, and by a tag where an earlier Headrace kept none.

    Raises Altered where the two differ, BadRequest where there is none.
    """
    called, tag = version.called, version.tags.get("code_commit")
    named = (told or {}).get("origin", {}).get("code_commit", tag)
    if named != tag:
        raise Altered(f"{called}: its evidence names the commit {named}, its tag {tag}. Register the model again.")
    commit = str(named).removesuffix("-dirty")
    if not is_commit(commit):
        raise BadRequest(f"{called}: {commit[:80]!r} is no commit of git's, so its code is not to be had again.")
    return commit


def bring_bases(workspace: Workspace, origin: Origin, root: Path) -> dict[str, str]:
    """What a stage needs to find registered bases (models:/) in a clone, as variables; nothing where a server has them.

    The embedded store is copied, its files aside: they stay where they are, and what the clone logs stays in the clone.
    """
    named = read_json(origin.kept[SETTINGS]).get("bases", {})
    bases = [base for each in named.items() if (base := base_of(*each)) is not None]
    if not bases or not is_embedded():
        return {}
    var, copy = workspace.var, Workspace(root).var
    _copy_store(var, copy)
    for name, number in bases:
        if number is not None:
            packed = versions.packed_folder(versions.resolve(name, number, var), var)
            if (added_to := base_folder(packed / versions.MODEL_FILES)) is not None:  # by the version's adapters
                shutil.copytree(added_to, copy / STORE / added_to.name, dirs_exist_ok=True)
    return {"MLFLOW_TRACKING_URI": embedded_uri(copy)}


def _copy_store(var: Path, copy: Path) -> None:
    """The database of the embedded store, whose experiments keep their files in the clone from now on."""
    make_folder(database(copy).parent)
    database(copy).parent.chmod(0o700)
    with closing(sqlite3.connect(database(var))) as old, closing(sqlite3.connect(database(copy))) as new:
        old.backup(new)
        new.execute(
            "UPDATE experiments SET artifact_location = ? || '/' || name", (artifacts(copy).resolve().as_uri(),)
        )
        new.commit()


def _names(patch: Path, root: Path) -> Iterator[str]:
    """Every path that a patch names, what it moves or copies from too."""
    listed = git(root, "apply", "--numstat", "-z", str(patch))
    yield from (line.split("\t", 2)[2] for line in listed.split("\0") if line)
    for found in _MOVED.findall(patch.read_bytes()):
        yield _unquoted(found.decode("utf-8", "surrogateescape").strip())


def _unquoted(name: str) -> str:
    """A name as git writes it, which quotes those with other than plain letters."""
    if not name.startswith('"'):
        return name
    return _ESCAPED.sub(
        lambda each: chr(int(each[1], 8)) if len(each[1]) == 3 else _BY_LETTER.get(each[1], each[1]), name.strip('"')
    )
