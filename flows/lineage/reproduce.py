"""`headrace reproduce`: a version made again from its commit and its data, in a folder of its own, and compared.

The data come by their hashes from DVC's cache or its remote; the source is not asked again. What was kept with the
version (recipe, lock, settings, patch) is put in its place, and every stage from `validate` on runs by force.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.atomic_files import read_json, sha256_json, write_json, write_text
from core.errors import BadRequest, HeadraceError
from core.manifest import read_manifest
from core.workspace import Job, Workspace
from flows.servers.turns import working
from flows.terminal.output import say
from registry.cleanup.forgotten_rows import forgotten
from registry.store import versions
from registry.store.connection import is_embedded
from registry.store.overview import libraries_moved

if TYPE_CHECKING:
    from registry.store.versions import Version

_STAGES = ("validate", "preprocess", "train", "evaluate")
_SAID = 3000  # characters of what a failed step said last
_KEPT = ("recipe.yaml", "recipe.lock", "settings.json", "dvc-lock.json", "metrics.json")


@dataclass(frozen=True)
class Reproduction:
    """What came out. differences: in words; none when weights and metrics are equal. libraries: that moved since."""

    model: str
    version: str
    model_hash: str
    differences: list[str]
    libraries: Mapping[str, tuple[str, str]]

    @property
    def equal(self) -> bool:
        return not self.differences


def reproduce(workspace: Workspace, model: str, which: str, *, keep: Path | None = None) -> Reproduction:
    """Make a version again and compare its weights and metrics.

    keep: a folder to do it in, which stays; by default a temporary one. Raises BadRequest for an unknown version or
    one whose commit or evidence is gone, HeadraceError when a stage fails.
    """
    version = versions.resolve(model, which, workspace.var)
    if versions.freed(version) is None:
        versions.require_signed(version, workspace.var)
    if lost := forgotten(version):
        raise BadRequest(f"{model}/{version.version} cannot be made again: {lost}.")
    kept = {name: _kept(version, name, workspace) for name in _KEPT}
    with working(workspace, say=say), _folder(keep) as folder:  # it reads and fills DVC's cache
        job = _laid_out(workspace, version, kept, folder / "workspace")
        _data(job, workspace)
        for stage in _STAGES:
            say(f"{stage}@{job.name}")
            _dvc(job, "repro", "--single-item", "--force", f"{stage}@{job.name}")
        return Reproduction(
            model, version.version, str(version.model_hash), list(_differences(job, version, kept, workspace)),
            libraries_moved(version.run_id, workspace.var),
        )  # fmt: skip


def lines(done: Reproduction) -> Iterator[str]:
    called = f"{done.model}/{done.version}"
    yield from done.differences
    for library, (then, now) in done.libraries.items():
        yield f"{library} was {then} then, and is {now} now"
    word = "equal, weights and metrics" if done.equal else "NOT equal"
    yield f"{called} was made again: {word} ({done.model_hash[:12]})"


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="headrace-reproduce-") as folder:
        yield Path(folder)


def _kept(version: Version, name: str, workspace: Workspace) -> Path:
    file = versions.evidence(version, name, workspace.var)
    if file is None:
        raise BadRequest(f"{version.name}/{version.version} has no {name} with it. Register it again.")
    return file


def _laid_out(workspace: Workspace, version: Version, kept: Mapping[str, Path], root: Path) -> Job:
    """A clone at the version's commit, with what was kept in its place and nothing live but its recipe."""
    commit = version.tags["code_commit"].removesuffix("-dirty")
    _git(workspace.root, "clone", "--quiet", "--no-checkout", "--local", str(workspace.root), str(root))
    _git(root, "checkout", "--quiet", "--detach", commit)
    if (patch := versions.evidence(version, "code.patch", workspace.var)) is not None:
        _git(root, "apply", "--whitespace=nowarn", str(patch.resolve()))
    job = Workspace(root).job("recipe", version.tags[versions.RECIPE])
    settings = read_json(kept["settings.json"])
    write_text(job.settings_file, kept["recipe.yaml"].read_text(encoding="utf-8"))
    write_text(job.lock_file, kept["recipe.lock"].read_text(encoding="utf-8"))
    entry = {"task": settings["task"], "watch": f"recipes/{job.name}.lock"}
    write_json(root / "params.yaml", {"recipes": {job.name: entry}, "indexes": {}})  # JSON is YAML
    write_json(root / "dvc.lock", {"schema": "2.0", "stages": read_json(kept["dvc-lock.json"])})
    write_json(job.folder / "settings.json", settings)
    return job


def _data(job: Job, workspace: Workspace) -> None:
    """The rows as they were collected, from the workspace's cache or, what is not there, from its remote."""
    config = workspace.root / ".dvc" / "config.local"
    if config.exists():
        write_text(job.workspace.root / ".dvc" / "config.local", config.read_text(encoding="utf-8"))
    _dvc(job, "cache", "dir", "--local", str(workspace.root / ".dvc" / "cache"))
    address = f"collect@{job.name}"
    if not _has_remote(job):
        _dvc(job, "checkout", address)
        return
    _dvc(job, "pull", address)


def _has_remote(job: Job) -> bool:
    done = _run(job, sys.executable, "-m", "dvc", "config", "core.remote")
    return done.returncode == 0 and bool(done.stdout.strip())


def _differences(job: Job, version: Version, kept: Mapping[str, Path], workspace: Workspace) -> Iterator[str]:
    files = read_manifest(job.folder / "model")["files"]
    if sha256_json(files) != version.model_hash and (gone := versions.freed(version)) is not None:
        yield f"model: other weights; {gone}"
    elif sha256_json(files) != version.model_hash:
        before = read_manifest(versions.packed_folder(version, workspace.var) / versions.MODEL_FILES)["files"]
        for name in sorted(files.keys() | before.keys()):
            if files.get(name) != before.get(name):
                yield f"model/{name}: {str(before.get(name))[:12]} then, {str(files.get(name))[:12]} now"
    then, now = read_json(kept["metrics.json"]), read_json(job.folder / "evaluation" / "metrics.json")
    for name in sorted(key for key in then.keys() | now.keys() if key not in ("baselines", "slices", "differences")):
        if then.get(name) != now.get(name):
            yield f"{name}: {_value(then.get(name))} then, {_value(now.get(name))} now"


def _value(metric: Any) -> Any:
    return metric.get("value") if isinstance(metric, Mapping) else metric


def _dvc(job: Job, *arguments: str) -> None:
    done = _run(job, sys.executable, "-m", "dvc", *arguments)
    if done.returncode:
        raise HeadraceError(f"dvc {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-_SAID:].strip()}")


def _run(job: Job, *command: str) -> subprocess.CompletedProcess[str]:
    """In the clone, with its code; it logs to a store of its own, as an experiment would."""
    env = {**os.environ, "PYTHONPATH": str(job.workspace.root), "DVC_EXP_NAME": "reproduce"}
    if not is_embedded():
        env["MLFLOW_TRACKING_URI"] = os.environ["MLFLOW_TRACKING_URI"]  # models:/ bases stand there
    return subprocess.run(command, cwd=job.workspace.root, env=env, capture_output=True, text=True, check=False)


def _git(root: Path, *arguments: str) -> None:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BadRequest(f"git {' '.join(arguments)}: {done.stderr.strip()}")
