"""The parts of `headrace forget` that each know one place: versions, search engines, servers, DVC's objects."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from core.progress import tracked
from core.workspace import Workspace
from flows.catalog.live import live
from flows.forget import find
from flows.forget.find import Found, outputs
from flows.forget.forget_report import Report, Touched
from flows.forget.redact import redact
from flows.forget.row_copies import Traces
from flows.forget.swept_files import STAYS
from flows.graph.git_refs import lock_texts
from flows.graph.objects import Objects
from pipelines.search.engine import release_files
from pipelines.search.engine.choice import choose
from pipelines.search.engine.engine import URL
from registry.cleanup import forgotten_rows
from registry.cleanup.needed import Base
from registry.store.connection import shown_server
from registry.store.versions import Version

_OWN = ("data/models/", "data/indexes/")  # outputs of our stages
_WEIGHTS = ("/model", "/base")
Locks = list[tuple[str, bytes]]  # where it stands, and its text


def every_lock(workspace: Workspace) -> Locks:
    """Every dvc.lock and .dvc file that counts, and those kept with versions: (where, text)."""
    kept = [
        (f"{v.name}/{v.version}", forgotten_rows.lock_of(v, workspace.var))
        for v in forgotten_rows.every_version(workspace.var)
    ]
    return [
        *((each.where, each.text) for each in lock_texts(workspace.root) if each.of_dvc),
        *((where, lock) for where, lock in kept if lock is not None),
    ]


def touched(workspace: Workspace, objects: Objects, traces: Traces) -> tuple[list[Touched], list[str]]:
    """The versions whose data had the row; and of which that cannot be known, in words."""
    found, notes = [], []
    known = forgotten_rows.every_version(workspace.var)
    for version in known:
        lock = forgotten_rows.lock_of(version, workspace.var)
        rows = find.rows_of(objects, json.loads(lock)) if lock is not None else None
        rows = rows or forgotten_rows.kept_rows(version, workspace.var)
        if rows is None:
            notes.append(f"{version.name}/{version.version}: its data are nowhere, so whether they had it is not known")
        elif splits := find.splits(rows, traces.ids):
            found.append(Touched(version, frozenset(splits), rows))
    bases = [(version, forgotten_rows.bases_of(version, workspace.var)) for version in known]
    return [*found, *heirs(found, bases)], notes


def heirs(found: list[Touched], bases: Sequence[tuple[Version, Collection[Base]]]) -> Iterator[Touched]:
    """The versions that were trained from those whose weights know the row, and from these, and so on."""
    seen, above = [each.version for each in found], [each for each in found if each.trained]
    while above:
        base = above.pop()
        for version, named in bases:
            if version not in seen and (base.version.name, base.version.version) in named:
                seen.append(version)
                above.append(Touched(version, frozenset({f"its base, {base.called}"}), None))
                yield above[-1]


def mark(each: Touched, traces: Traces, objects: Objects, workspace: Workspace) -> None:
    """Tag a version; which rows it was made of is kept with it, by id, since its data go."""
    if each.rows is not None and forgotten_rows.kept_rows(each.version, workspace.var) is None:
        forgotten_rows.keep_rows(each.version, find.ids_only(each.rows, traces.ids, objects.scratch), workspace.var)
    forgotten_rows.mark(each.version, each.tags, workspace.var)


def indexes(found: Found) -> set[str]:
    """The indexes that have the document."""
    return {job.name for job in found.jobs if job.kind == "index"}


def take_from_engines(workspace: Workspace, found: Found, report: Report) -> None:
    """Versions of indexes that had it; a live index was published anew before."""
    for job in (job for job in found.jobs if job.kind == "index"):
        retired = job not in live(workspace, "index")
        if retired and os.environ.get(URL):
            why = "the index is retired: delete them there, or make it live again and forget again"
            report.kept.append((f"collections {job.name}-* of {choose(workspace).place}", why))
        standing = [each for each in release_files.standing(workspace) if each.index == job.name]
        going = [each for each in standing if retired or not each.live]
        if retired and standing:
            gone = release_files.take_down(workspace, job.name)
        else:
            gone = [release_files.remove(workspace, job.name, each.version) for each in going].count(False) == 0
        report.count("versions of indexes", len(going) if gone else 0)
        if not gone:
            report.kept.append((f"var/qdrant/{job.name}", "somebody reads it now: run the same again"))
        if retired:
            (job.folder / "published.json").unlink(missing_ok=True)


def scrub_served(workspace: Workspace, traces: Traces, report: Report) -> None:
    """Evidence and input examples on a server: whoever else uses it, it is the point of forgetting."""

    def holds(path: Path) -> bool:
        return traces.in_file(path) == "text"

    touched = [each.version for each in report.versions]
    for which, done in forgotten_rows.scrub_served(touched, workspace.var, holds, lambda path: redact(path, traces)):
        report.count(f"files in {shown_server()}", int(done))
        if not done:
            report.kept.append((f"{shown_server()}: {which}", "a server's artifact that is no text: delete the run"))


def objects_with(objects: Objects, traces: Traces, locks: Locks, report: Report) -> set[str]:
    """DVC's objects that hold the row, and what is of no use without them. Others' stay, and are named."""
    named = outputs(locks)
    others = {oid: path for oid, (path, _) in named.items() if not path.startswith(_OWN) or path.endswith(_WEIGHTS)}
    theirs = {md5: path for oid, path in others.items() for md5 in [oid, *objects.listings.get(oid, {}).values()]}
    going = set()
    for oid, path in tracked(objects.contents(), "look at DVC's objects", total=None, unit="objects"):
        held = traces.in_file(path)
        if held in ("row", "text") and oid in theirs:
            report.kept.append(
                (f"DVC object {oid}", f"of {theirs[oid]}: a model's, or your own, not Headrace's to remove")
            )
        elif held in ("row", "text"):
            going.add(oid)
        elif held is not None:
            report.kept.append((f"DVC object {oid}", STAYS[held]))
    return objects.whole(going, named)


def broken(going: set[str], locks: Locks) -> list[str]:
    """What names an output that goes: it cannot be had back, nor made again as it was."""
    found: dict[str, set[str]] = {}
    for lock in locks:
        for oid, (path, where) in outputs([lock]).items():
            if oid in going:
                found.setdefault(where, set()).add(path)
    return [f"{where}: {', '.join(sorted(paths))}" for where, paths in found.items()]
