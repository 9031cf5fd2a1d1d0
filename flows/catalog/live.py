"""Which recipes and indexes are live, and how one becomes so or stops being so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.atomic_files import write_text
from core.errors import BadRequest, near
from core.schema.data import Data
from core.schema.reading import read_document, shown
from core.workspace import Job, Kind, Workspace
from flows.catalog.params import SECTIONS, put, read_entries, remove
from pipelines.recipes.read import read_index, read_recipe
from pipelines.sources import watch_path

_OF_INDEX, _OF_RECIPE = {"documents", "chunk", "embed", "search"}, {"task", "data", "model", "training"}


def live(workspace: Workspace, kind: Kind | None = None) -> list[Job]:
    """The live recipes and indexes (or those of one kind), as params.yaml lists them."""
    entries = read_entries(workspace)
    return [workspace.job(each, name) for each in SECTIONS if kind in (None, each) for name in entries[each]]


def chosen(workspace: Workspace, names: Sequence[str], kind: Kind | None = None) -> list[Job]:
    """The live ones of these names, or all of them without a name; a recipe and an index of one name are both meant.

    Raises BadRequest for a name that is not live, with the nearest that is.
    """
    jobs = live(workspace, kind)
    known = list(dict.fromkeys(job.name for job in jobs))
    for name in names:
        if name not in known:
            what = kind or "recipe or index"
            raise BadRequest(
                f"no live {what} {name!r}. {near(name, known)}Live: {', '.join(known) or 'none'}. "
                f"`headrace new {name} --source DATA` adds one."
            )
    return [job for job in jobs if not names or job.name in names]


def entry(job: Job) -> dict[str, str]:
    """What params.yaml should say about a recipe or index. Raises BadSettings for a file with mistakes."""
    if job.kind == "index":
        return {"watch": _watch(job, read_index(job.settings_file).documents)}
    recipe = read_recipe(job.settings_file)
    return {"task": recipe.task, "watch": _watch(job, recipe.data)}


def correct(workspace: Workspace, entries: Mapping[Job, Mapping[str, str]]) -> list[str]:
    """Make params.yaml say `entries`; returns what was changed, in words."""
    now = read_entries(workspace)
    changed = []
    for job, wanted in entries.items():
        found = now[job.kind][job.name]
        behind = {key: value for key, value in wanted.items() if found.get(key) != value}
        if behind:
            put(workspace, job.kind, job.name, behind)
        changed += [f"{SECTIONS[job.kind]}.{job.name}.{key}: {found.get(key)} -> {behind[key]}" for key in behind]
    return changed


def new(workspace: Workspace, name: str, file: Path) -> Job:
    """Make a recipe or index live from a settings file, copied as it is. A mistake leaves the workspace as it was."""
    from pipelines.recipes.observe import observe, write_lock

    job = workspace.job(kind_of(file), name)
    _refuse_taken(workspace, job, file)
    written: list[Path] = []
    try:
        if not job.settings_file.exists():
            written.append(job.settings_file)
            write_text(job.settings_file, file.read_text(encoding="utf-8"))
        if not job.lock_file.exists():
            written.append(job.lock_file)
        write_lock(job, observe(job))
        put(workspace, job.kind, name, entry(job))
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return job


def retire(workspace: Workspace, names: Sequence[str], kind: Kind | None = None) -> list[Job]:
    """Take recipes or indexes out of the live ones; their files and versions stay. A mistake takes none out."""
    jobs = chosen(workspace, names, kind)
    for name, count in Counter(job.name for job in jobs).items():
        if count > 1:
            raise BadRequest(f"{name!r} is a recipe and an index. Say which: --kind recipe, or --kind index.")
    for job in jobs:
        remove(workspace, job.kind, job.name)
    return jobs


def kind_of(file: Path) -> Kind:
    """Whether a settings file is a recipe or an index, by its keys."""
    keys = read_document(file).values.keys()
    index, recipe = len(keys & _OF_INDEX), len(keys & _OF_RECIPE)
    if index == recipe:
        raise BadRequest(
            f"{shown(file)}: neither a recipe (task, data, model) nor an index (documents, embed); "
            f"its keys are: {', '.join(sorted(keys))}"
        )
    return "index" if index > recipe else "recipe"


def registered_names(workspace: Workspace) -> dict[str, list[Job]]:
    """Which live recipes register under which name; those whose file cannot be read are left out."""
    found: dict[str, list[Job]] = {}
    for job in live(workspace, "recipe"):
        try:
            found.setdefault(str(read_recipe(job.settings_file).registry.name), []).append(job)
        except BadRequest:
            continue  # `check` reports it where it stands
    return found


def _refuse_taken(workspace: Workspace, job: Job, file: Path) -> None:
    target = job.settings_file
    if job.name in read_entries(workspace)[job.kind]:
        raise BadRequest(
            f"{job.kind} {job.name!r} is live already ({shown(target)}). Choose another name, or edit that file."
        )
    if target.exists() and not target.samefile(file):
        raise BadRequest(
            f"{shown(target)} exists. `headrace new {job.name} --from {shown(target)}` makes it live again; "
            "for another one choose another name."
        )
    if job.kind == "index":
        read_index(file)
        return
    wanted = str(read_recipe(file, name=job.name).registry.name)
    taken = registered_names(workspace).get(wanted)
    if taken:
        line = read_document(file).line(("registry", "name"))
        raise BadRequest(
            f"{shown(file)}:{line}: registry.name: {wanted!r} is what the live recipe {taken[0].name!r} registers as. "
            f"Give this one a name of its own, such as registry: {{name: {job.name}}}."
        )


def _watch(job: Job, data: Data) -> str:
    """The local path whose change makes a recipe or index stale: what its source reads, else its lock."""
    root = job.workspace.root
    watched = watch_path(data)
    if watched is None:
        return job.lock_file.relative_to(root).as_posix()
    path = (root / watched).resolve()
    if root.resolve().is_relative_to(path):
        raise BadRequest(
            f"{shown(job.settings_file)}: source {data.source!r} reads the workspace's own folder, where Headrace "
            "writes. Put the files into a folder of their own, such as rows/*.csv."
        )
    return path.relative_to(root.resolve()).as_posix() if path.is_relative_to(root.resolve()) else watched
