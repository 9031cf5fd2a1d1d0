"""The parts of `headrace forget` that each know one place: versions, search engines, servers, DVC's objects."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path

from core.git import git
from core.progress import tracked
from core.workspace import Workspace
from flows.catalog.live import live
from flows.forget import find
from flows.forget.find import Found, outputs
from flows.forget.forget_report import Report, Touched
from flows.forget.redact import redact
from flows.forget.row_copies import Traces
from flows.forget.swept_files import ENGINE, STAYS, Sweep, is_vocabulary
from flows.graph.git_refs import every_object, lock_texts, worktrees
from flows.graph.objects import Objects
from pipelines.search.engine import release_files
from pipelines.search.engine.choice import choose
from pipelines.search.engine.engine import URL
from registry.cleanup import forgotten_rows
from registry.cleanup.held_versions import lock_of
from registry.cleanup.needed import Base
from registry.store.connection import shown_server
from registry.store.versions import CHAMPION, Version, every_version

_OWN = ("data/models/", "data/indexes/")  # outputs of our stages
_WEIGHTS = ("/model", "/base")
_COMMITS = 3  # that are named of git's
_VOCABULARY = "a model's vocabulary, in which is a word that only this row has; the model is checked by its hash"
Locks = list[tuple[str, bytes]]  # where it stands, and its text


def every_lock(workspace: Workspace) -> Locks:
    """Every dvc.lock and .dvc file that counts, and those kept with versions: (where, text)."""
    kept = [(version.called, lock_of(version, workspace.var)) for version in every_version(workspace.var)]
    return [
        *((each.where, each.text) for each in lock_texts(workspace.root) if each.of_dvc),
        *((where, lock) for where, lock in kept if lock is not None),
    ]


def touched(workspace: Workspace, objects: Objects, traces: Traces) -> tuple[list[Touched], list[str]]:
    """The versions whose data had the row; and of which that cannot be known, in words."""
    found, notes = [], []
    known = every_version(workspace.var)
    for version in known:
        lock = lock_of(version, workspace.var)
        rows = find.rows_of(objects, json.loads(lock)) if lock is not None else None
        rows = rows or forgotten_rows.kept_rows(version, workspace.var)
        if rows is None:
            notes.append(f"{version.called}: its data are nowhere, so whether they had it is not known")
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
                above.append(Touched(version, frozenset({f"its base, {base.version.called}"}), None))
                yield above[-1]


def mark(each: Touched, traces: Traces, objects: Objects, workspace: Workspace) -> None:
    """Tag a version; which rows it was made of is kept with it, by id, since its data go."""
    if each.rows is not None and forgotten_rows.kept_rows(each.version, workspace.var) is None:
        # before it is marked: who finds the mark finds them
        forgotten_rows.keep(each.version, find.ids_only(each.rows, traces.ids, objects.scratch), workspace.var)
    forgotten_rows.mark(each.version, each.tags, workspace.var)


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
            removed = [release_files.remove(workspace, job.name, each.version) for each in going]
            gone = all(removed)
        report.count("versions of indexes", len(going) if gone else 0)
        if not gone:
            report.kept.append((f"var/qdrant/{job.name}", "somebody reads it now: run the same again"))
        if retired:
            (job.folder / "published.json").unlink(missing_ok=True)


def scrub_served(workspace: Workspace, traces: Traces, report: Report) -> None:
    """Evidence and input examples on a server: whoever else uses it, it is the point of forgetting."""
    found = [each.version for each in report.versions]
    holds, clean = (lambda path: traces.in_file(path) == "text"), partial(redact, traces=traces)
    for which, done in forgotten_rows.scrub_served(found, workspace.var, holds, clean):
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


def name_kept(
    workspace: Workspace, sweep: Sweep, objects: Objects, found: Found, report: Report, *, dry_run: bool
) -> None:
    """Search once more: whatever holds it still is named."""
    for path, fate in sweep.look(found.traces):
        if (fate.action == "keep" and fate.what != ENGINE) or not dry_run:
            report.kept.append((_shown(workspace, path), fate.why or "it was there again: run the same again"))
    copies = {oid for files in objects.listings.values() for name, oid in files.items() if is_vocabulary(name)}
    here = [path for path in sweep.files() if is_vocabulary(path.name)]
    for path in [*here, *(objects.cached[oid] for oid in sorted(copies & objects.cached.keys()))]:
        if path.exists() and found.traces.words_in(path):
            where = f"DVC object {path.parent.name}{path.name}" if path.is_relative_to(objects.cache) else None
            report.kept.append((where or _shown(workspace, path), _VOCABULARY))
    for words in _in_git(workspace.root, found.traces):
        report.kept.append((f"git: {words}", "history is yours to rewrite (`git filter-repo`), in every clone of it"))
    for each in report.versions:
        if each.trained:
            more = ", champion, served on until another takes its place" if CHAMPION in each.version.aliases else ""
            why = f"trained on the row{more}: numbers, no text; what they remember is not known"
            report.kept.append((f"weights of {each.version.called}", why))
    for place in worktrees(workspace.root)[1:]:
        report.kept.append((str(place), "another worktree of git's: not looked at, run it there too"))
    for name in objects.other_remotes:
        report.kept.append((f"the remote {name!r}", "not the default one: not looked at"))


def _shown(workspace: Workspace, path: Path) -> str:
    return path.relative_to(workspace.root).as_posix() if path.is_relative_to(workspace.root) else str(path)


def _in_git(root: Path, traces: Traces) -> Iterator[str]:
    """Where git has the text, in words: a file and commits that it stands in. Reads every blob.

    Raises BadRequest when git fails.
    """
    if not traces.spellings:
        return
    blobs = [each.name for each in every_object(root) if each.kind == "blob" and traces.in_bytes(each.content)]
    for blob in blobs:
        found = git(root, "log", "--all", "--format=:%h", f"--find-object={blob}", "--name-only")
        log = found.splitlines()
        commits = [line[1:] for line in log if line.startswith(":")]
        names = sorted({line for line in log if line and not line.startswith(":")})
        if commits:
            yield f"{', '.join(names)} in commits {', '.join(commits[:_COMMITS])}{' ...' if commits[_COMMITS:] else ''}"
        else:
            yield f"object {blob[:10]}, which no commit names (git's index, a stash, or `git gc --prune=now` drops it)"
