"""A recipe whose outputs are made in another folder: a look at what a run would do, which changes nothing of it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from core.atomic_files import make_folder, said_in, write_json
from core.workspace import Job, sealed
from pipelines.recipes.observe import observe, write_lock
from pipelines.recipes.read import read_lock, read_recipe, references
from pipelines.settings.settings import settings

_ROWS_BY = ("task", "data", "split", "examples", "contract", "preprocess", "source", "bases")  # sections they depend on


@dataclass(frozen=True)
class Aside(Job):
    """`place` holds everything that is made; `file` is the recipe."""

    place: Path
    file: Path

    @property
    def settings_file(self) -> Path:
        return self.file

    @property
    def folder(self) -> Path:
        return self.place / "outputs"


def set_aside(job: Job, file: Path, place: Path) -> Aside:
    """The recipe in `file` with its settings.json in place. A lock that is there counts; where none is, one is made.

    job: the recipe in the workspace, which need not be there yet.
    Raises BadSettings for a mistake in the recipe, BadRequest for a source or base that is not there, Outage.
    """
    copy = Aside(job.workspace, "recipe", job.name, place, place / f"{job.name}.yaml")
    for ending in (".yaml", ".lock", ".forgotten"):
        if (source := file.with_suffix(ending)).exists():
            copy.file.with_suffix(ending).write_bytes(source.read_bytes())
    if not copy.lock_file.exists() or set(references(read_recipe(copy.file))) - read_lock(copy).bases.keys():
        write_lock(copy, observe(copy))
    make_folder(copy.folder)
    write_json(copy.folder / "settings.json", sealed(settings(copy)))
    return replace(copy, file=job.settings_file)  # messages name the recipe by where it is


def has_rows(job: Job, aside: Aside) -> bool:
    """Whether the stages have prepared the rows of just these settings already."""
    if not (job.folder / "prepared" / "manifest.json").exists():
        return False
    before, now = said_in(job.folder / "settings.json"), json.loads(json.dumps(aside.settings))
    return all(before.get(section) == now.get(section) for section in _ROWS_BY)
