"""Where a model came from: hashes of what stands on disk, and the commit of the code."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

from core.workspace import Job, Workspace
from pipelines.evidence.provenance import commit, hashes, lock_entries

LOCK = """\
schema: '2.0'
stages:
  settings@films:
    cmd: python -m pipelines.settings films
    outs:
    - path: data/models/films/settings.json
      hash: md5
      md5: 5d41402abc4b2a76b9719d911017c592
      size: 5
  register@films:
    cmd: python -m pipelines.register films
  settings@other:
    cmd: python -m pipelines.settings other
"""


def git(root: Path, *arguments: str) -> str:
    me = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", *me, *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def checkout(root: Path) -> Path:
    (root / "pipelines").mkdir(parents=True)
    (root / "pipelines" / "train.py").write_text("code")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "start")
    return root


def films(root: Path) -> Job:
    job = Job(Workspace(root), "recipe", "films")
    for name in ("raw", "validated", "prepared"):
        (job.folder / name).mkdir(parents=True)
        (job.folder / name / "manifest.json").write_text(name)
    (job.folder / "settings.json").write_text(json.dumps({"bases": {"package://x": {"sha256": "b" * 64}}}))
    return job


def test_hashes_are_those_of_the_files(tmp_path: Path) -> None:
    job = films(tmp_path)
    found = hashes(job)
    assert found["raw_hash"] == hashlib.sha256(b"raw").hexdigest()
    assert found["recipe_hash"] == hashlib.sha256((job.folder / "settings.json").read_bytes()).hexdigest()
    assert found["base_hash"] == "b" * 64
    assert found["code_commit"] == "none"


def test_the_commit_is_heads_and_dirty_only_when_code_differs(tmp_path: Path) -> None:
    root = checkout(tmp_path / "w")
    head = git(root, "rev-parse", "HEAD")
    assert commit(root) == head
    (root / "dvc.lock").write_text("moved by every run")
    assert commit(root) == head
    (root / "pipelines" / "new_task.py").write_text("not committed")
    assert commit(root) == f"{head}-dirty"


def test_of_dvc_lock_the_recipes_own_stages_up_to_evaluate(tmp_path: Path) -> None:
    job = films(tmp_path)
    assert lock_entries(job) == {}
    before = hashes(job)["dvc_lock_hash"]
    (tmp_path / "dvc.lock").write_text(LOCK)
    assert list(lock_entries(job)) == ["settings@films"]
    assert lock_entries(job)["settings@films"]["outs"][0]["md5"] == "5d41402abc4b2a76b9719d911017c592"
    assert hashes(job)["dvc_lock_hash"] != before
