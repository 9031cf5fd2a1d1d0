"""NAME.lock brought up to date: what moved, from what to what. Starts nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.atomic_files import read_json
from core.schema.lock import Lock
from core.workspace import Job
from pipelines.recipes.observe import observe, write_lock
from pipelines.recipes.read import identity, read_lock, read_recipe

_SHOWN = 12  # characters of a hash


def refresh(job: Job) -> list[str]:
    """Look whether source and bases moved, and write NAME.lock if they did; returns what moved, in words.

    The reference profile for drift moves only together with the source: then it becomes the champion's.
    Raises BadRequest for settings with mistakes and for a source or base that is not there, Outage.
    """
    before = read_lock(job) if job.lock_file.exists() else None
    seen = observe(job)
    if job.kind == "recipe" and _source_moved(job, before, seen):
        seen = seen.model_copy(update={"reference": _champion_profile(job) or seen.reference})
    write_lock(job, seen)
    return list(_moved(before, seen))


def _source_moved(job: Job, before: Lock | None, seen: Lock) -> bool:
    """Whether the source is another one than the lock says, or a local one has another content than was collected."""
    if before is None or before.source != seen.source:
        return True
    manifest = job.folder / "raw" / "manifest.json"
    if not manifest.exists():
        return False
    collected = read_json(manifest)["identity"]
    now = identity(job, read_recipe(job.settings_file).data, seen)
    return any(collected.get(key) != value for key, value in now.items())


def _champion_profile(job: Job) -> dict[str, Any] | None:
    from registry.store.connection import database, is_embedded

    if is_embedded() and not database(job.workspace.var).exists():
        return None  # and none is made for the question's sake
    from registry.version.evidence_files import champion_profile

    return champion_profile(str(read_recipe(job.settings_file).registry.name), job.workspace.var)


def _moved(before: Lock | None, now: Lock) -> Iterator[str]:
    old = _facts(before) if before else {}
    new = _facts(now)
    for key in {**new, **old}:
        if old.get(key) != new.get(key):
            yield f"{key}: {_short(old.get(key))} -> {_short(new.get(key))}"


def _facts(lock: Lock) -> dict[str, Any]:
    facts: dict[str, Any] = {f"source.{key}": value for key, value in lock.source.items()}
    for name, base in lock.bases.items():
        facts |= {f"bases.{name}.{key}": value for key, value in base.model_dump().items() if value is not None}
    if lock.reference is not None:
        facts["reference"] = lock.reference
    return facts


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a profile of the champion's data"
    text = "nothing" if value is None else str(value)
    return f"{text[:_SHOWN]}..." if len(text) > 2 * _SHOWN else text
