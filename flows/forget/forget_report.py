"""What `headrace forget` found and removed, and what has the row still, with the reason: as a document and in lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.addresses import recorded
from core.atomic_files import read_json
from core.workspace import Job, Workspace
from flows.forget.find import Found
from flows.forget.git_history import in_git
from flows.forget.swept_files import ENGINE, Sweep, is_vocabulary
from flows.graph.git_refs import worktrees
from flows.graph.objects import Objects
from registry.cleanup.forgotten_rows import TRAINED
from registry.store.versions import CHAMPION, GONE, Version

_SHOWN = 4  # places with one reason
_VOCABULARY = "a model's vocabulary, in which is a word that only this row has; the model is checked by its hash"


@dataclass(frozen=True)
class Touched:
    """A version whose data had the row. splits: the parts of the data that it stood in. rows: all of them, by id; None
    of a version that only its base has it from.
    """

    version: Version
    splits: frozenset[str]
    rows: Path | None

    @property
    def called(self) -> str:
        return f"{self.version.name}/{self.version.version}"

    @property
    def trained(self) -> bool:
        return bool(self.splits - {"test"})

    @property
    def tags(self) -> list[str]:
        return [*([TRAINED] if self.trained else []), *([GONE] if self.rows is not None else [])]


@dataclass
class Report:
    """What was found, what went, and what stays where, because of what."""

    holders: list[str] = field(default_factory=list)
    versions: list[Touched] = field(default_factory=list)
    removed: dict[str, int] = field(default_factory=dict)
    kept: list[tuple[str, str]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, what: str, number: int = 1) -> None:
        if number:
            self.removed[what] = self.removed.get(what, 0) + number


def begun(workspace: Workspace, found: Found) -> Report:
    """A report with what is known before anything is removed: who has the row, and what is no business of ours."""
    report = Report(holders=[f"{job.kind} {job.name}" for job in found.jobs])
    report.kept += [(twin, "another row with the same text: forget it by its own id") for twin in sorted(found.twins)]
    for job in found.jobs:
        if not job.settings_file.exists():
            report.notes.append(f"{job.kind} {job.name} is no more, so that its source cannot bring the row back")
            continue
        source = read_json(job.folder / "settings.json")["data"]["source"] if _has_settings(job) else "its source"
        places = sorted(found.places.get(job, ()))
        at = f" ({', '.join(places[:_SHOWN])})" if places else ""
        why = "as far as is known it has the row still, and is not Headrace's to edit; collect leaves the row out"
        report.kept.append((f"the source of {job.name}: {recorded(str(source))}{at}", why))
    return report


def _has_settings(job: Job) -> bool:
    return (job.folder / "settings.json").exists()


def name_kept(
    workspace: Workspace, sweep: Sweep, objects: Objects, found: Found, report: Report, *, dry_run: bool = False
) -> None:
    """Search once more: whatever holds it still is named."""
    for path, fate in sweep.look(found.traces):
        if (fate.action == "keep" and fate.what != ENGINE) or not dry_run:
            report.kept.append((_shown(workspace, path), fate.why or "it was there again: run the same again"))
    copies = {oid for files in objects.listings.values() for name, oid in files.items() if is_vocabulary(name)}
    for path in [*sweep.vocabularies(), *(objects.cached[oid] for oid in sorted(copies & objects.cached.keys()))]:
        if path.exists() and found.traces.words_in(path):
            where = f"DVC object {path.parent.name}{path.name}" if path.is_relative_to(objects.cache) else None
            report.kept.append((where or _shown(workspace, path), _VOCABULARY))
    for words in in_git(workspace.root, found.traces):
        report.kept.append((f"git: {words}", "history is yours to rewrite (`git filter-repo`), in every clone of it"))
    for each in report.versions:
        if each.trained:
            more = ", champion, served on until another takes its place" if CHAMPION in each.version.aliases else ""
            why = f"trained on the row{more}: numbers, no text; what they remember is not known"
            report.kept.append((f"weights of {each.called}", why))
    for place in worktrees(workspace.root)[1:]:
        report.kept.append((str(place), "another worktree of git's: not looked at, run it there too"))
    for name in objects.other_remotes:
        report.kept.append((f"the remote {name!r}", "not the default one: not looked at"))


def _shown(workspace: Workspace, path: Path) -> str:
    return path.relative_to(workspace.root).as_posix() if path.is_relative_to(workspace.root) else str(path)


def document(report: Report, *, dry_run: bool) -> dict[str, Any]:
    """For scripts."""
    return {
        "dry_run": dry_run,
        "held_by": report.holders,
        "versions": [
            {"name": each.version.name, "version": each.version.version, "splits": sorted(each.splits),
             "trained": each.trained, "aliases": list(each.version.aliases)}
            for each in report.versions
        ],
        "removed": report.removed,
        "kept": [{"where": where, "why": why} for where, why in report.kept],
        "not_reproducible": report.broken,
        "notes": report.notes,
    }  # fmt: skip


def lines(report: Report, *, dry_run: bool) -> Iterator[str]:
    """For a person."""
    yield f"held by: {', '.join(report.holders)}"
    for each in report.versions:
        word = "would be tagged" if dry_run else "tagged"
        yield f"{each.called} had it in {', '.join(sorted(each.splits))}: {word} {' and '.join(each.tags)}"
    yield "would be removed" if dry_run else "removed"
    for what, count in report.removed.items() or {"nothing": 0}.items():
        yield f"  {count:>5,}  {what}"
    if report.broken:
        yield "cannot be had back, nor made again as it was"
        yield from (f"  {each}" for each in report.broken)
    yield "kept"
    for why, places in _by_reason(report.kept).items():
        more = f" and {len(places) - _SHOWN:,} more" if len(places) > _SHOWN else ""
        yield f"  {', '.join(places[:_SHOWN])}{more}: {why}"
    yield from report.notes
    if not dry_run:
        yield (
            "It stays out: commit the .forgotten and .lock files, and bring recipes up to date with `headrace run`. "
            "Edited content is another row, with another id; other clones have caches of their own."
        )


def _by_reason(kept: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for where, why in kept:
        found.setdefault(why, []).append(where)
    return found
