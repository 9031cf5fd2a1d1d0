"""NAME.forgotten, beside a recipe or an index: the rows that `headrace forget` took out, as hashes; it only grows.

`collect` leaves them out whatever the source says. NAME.lock names the file by its hash, among what identifies the
source: so DVC sees it, and a recipe that has none reads nothing more than before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from core.atomic_files import sha256_file, write_text
from core.errors import BadRequest
from core.workspace import Job

DOCUMENT_NAMES = ("id", "path")  # columns by which passages name their document (pipelines/chunk/chunk.py)
KEY = "forgotten"  # in the lock, among what identifies the source
_HEAD = (
    "# Rows that `headrace forget` took out: sha256 of this recipe's or index's name and the row's id, a line each.\n"
    "# collect leaves them out. Commit it; who takes a line out lets the row come back.\n"
)


@dataclass(frozen=True)
class Forgotten:
    """The rows of one recipe or index that are left out."""

    job: Job
    marks: frozenset[str] = frozenset()

    def any_of(self, names: Iterable[str | None]) -> bool:
        """Whether one of a row's names (its id, its content's hash, a document's name) was forgotten."""
        return bool(self.marks) and any(name is not None and mark(self.job, name) in self.marks for name in names)


def file_of(job: Job) -> Path:
    return job.settings_file.with_suffix(".forgotten")


def mark(job: Job, name: str) -> str:
    """What is written of a row. The recipe's name is the salt: lists of two recipes do not tell of a row in common."""
    return hashlib.sha256(f"{job.kind}/{job.name}\n{name}".encode("utf-8", "surrogatepass")).hexdigest()


def read(job: Job) -> Forgotten:
    """What was forgotten of a recipe or an index."""
    file = file_of(job)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return Forgotten(job, frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#")))


def add(job: Job, names: Iterable[str]) -> None:
    """Write rows into the file, sorted; nothing when they stand there."""
    marks = read(job).marks
    new = {mark(job, name) for name in names} - marks
    if new:
        write_text(file_of(job), _HEAD + "".join(f"{each}\n" for each in sorted(marks | new)))


def identity(job: Job) -> dict[str, str]:
    """What the lock says of the file; nothing when there is none."""
    file = file_of(job)
    return {KEY: sha256_file(file)} if file.exists() else {}


def as_locked(job: Job, locked: str | int | None) -> Forgotten:
    """What collect leaves out. Raises BadRequest when the file is not the one that the lock names."""
    if identity(job).get(KEY) != locked:
        raise BadRequest(
            f"{file_of(job)} is not the one that {job.lock_file} names: rows that were forgotten could come back. Get "
            f"it from git if it is missing, then `headrace lock {job.name}`."
        )
    return read(job)
