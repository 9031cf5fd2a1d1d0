"""What `headrace forget` found and removed, and what has the row still, with the reason: as a document and in lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.addresses import recorded
from core.atomic_files import read_json
from core.workspace import Workspace
from flows.forget.find import Found
from registry.cleanup.forgotten_rows import TRAINED
from registry.store.versions import GONE, Version

_SHOWN = 4  # places with one reason


@dataclass(frozen=True)
class Touched:
    """A version whose data had the row. splits: the parts of the data that it stood in. rows: all of them, by id; None
    of a version that only its base has it from.
    """

    version: Version
    splits: frozenset[str]
    rows: Path | None

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
        known = (job.folder / "settings.json").exists()
        source = read_json(job.folder / "settings.json")["data"]["source"] if known else "its source"
        places = sorted(found.places.get(job, ()))
        at = f" ({', '.join(places[:_SHOWN])})" if places else ""
        why = "as far as is known it has the row still, and is not Headrace's to edit; collect leaves the row out"
        report.kept.append((f"the source of {job.name}: {recorded(str(source))}{at}", why))
    return report


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
        yield f"{each.version.called} had it in {', '.join(sorted(each.splits))}: {word} {' and '.join(each.tags)}"
    yield "would be removed" if dry_run else "removed"
    for what, count in report.removed.items() or {"nothing": 0}.items():
        yield f"  {count:>5,}  {what}"
    if report.broken:
        yield "cannot be had back, nor made again as it was"
        yield from (f"  {each}" for each in report.broken)
    yield "kept"
    by_reason: dict[str, list[str]] = {}
    for where, why in report.kept:
        by_reason.setdefault(why, []).append(where)
    for why, places in by_reason.items():
        more = f" and {len(places) - _SHOWN:,} more" if len(places) > _SHOWN else ""
        yield f"  {', '.join(places[:_SHOWN])}{more}: {why}"
    yield from report.notes
    if not dry_run:
        yield (
            "It stays out: commit the .forgotten and .lock files, and bring recipes up to date with `headrace run`. "
            "Edited content is another row, with another id; other clones have caches of their own."
        )
