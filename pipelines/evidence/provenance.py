"""What a model came from, as hashes: data after each stage, settings, code, base, entries of dvc.lock."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from core.atomic_files import sha256_file, sha256_json
from core.git import git, git_says
from core.schema.reading import read_document
from core.workspace import Job

_DATA = ("raw", "validated", "prepared")
_STAGES = ("settings", "collect", "validate", "preprocess", "train", "evaluate")  # whose dvc.lock entries are kept
# A change there is "dirty".
_CODE = ("core", "flows", "pipelines", "registry", "recipes/*.yaml", "dvc.yaml", "params.yaml")


def hashes(job: Job) -> dict[str, str]:
    """Name of a tag -> sha256, or a commit. The data are named by their manifests, which hold every file's hash."""
    bases = [base["sha256"] for base in job.settings["bases"].values()]
    return {
        **{f"{name}_hash": sha256_file(job.folder / name / "manifest.json") for name in _DATA},
        "recipe_hash": sha256_file(job.folder / "settings.json"),
        "code_commit": commit(job.workspace.root),
        "base_hash": bases[0] if bases else "none",
        "dvc_lock_hash": sha256_json(lock_entries(job)),
    }


def commit(root: Path) -> str:
    """HEAD, and "-dirty" when code or a recipe differs from it; "none" outside git."""
    head = git_says(root, "rev-parse", "--verify", "--quiet", "HEAD").strip()
    return f"{head}-dirty" if head and git(root, "status", "--porcelain", "--", *_CODE) else head or "none"


def is_commit(name: str) -> bool:
    """Whether a name that somebody else wrote is a commit's full one: no option of git's, no branch that moves."""
    return re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", name) is not None


def may_patch(name: str) -> bool:
    """Whether patch() can have a change of this file: code or a recipe, below its folder."""
    parts = PurePosixPath(name).parts
    own = any(fnmatch(name, each) or parts[:1] == (each,) for each in _CODE)
    return own and name == PurePosixPath(name).as_posix() and not {"..", ".git", ".dvc"} & {p.lower() for p in parts}


def patch(root: Path) -> str:
    """What code and recipes have that HEAD has not, new files too, as `git apply` takes it; "" for a clean tree."""
    changed = git_says(root, "diff", "--binary", "HEAD", "--", *_CODE)
    new = git_says(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *_CODE).split("\0")
    added = (git_says(root, "diff", "--binary", "--no-index", "--", "/dev/null", name) for name in new if name)
    return changed + "".join(added)


def lock_entries(job: Job) -> dict[str, Any]:
    """What dvc.lock says of this recipe's stages so far; nothing when they were run without DVC."""
    file = job.workspace.root / "dvc.lock"
    stages = read_document(file).values.get("stages", {}) if file.exists() else {}
    return {name: stages[name] for stage in _STAGES if (name := f"{stage}@{job.name}") in stages}
