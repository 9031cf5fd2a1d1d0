"""Where a task finds what it needs, for tests that call one by hand."""

from __future__ import annotations

from pathlib import Path

from core.tables.task import Base, Place

NO_BASE = Base("none", None, None)


def a_place(
    folder: Path, *, base: Base = NO_BASE, media: Path | None = None, cache: Path | None = None, seed: int = 7
) -> Place:
    """folder: of what prepare() learns; media and cache: by default the same."""
    return Place(folder, media or folder, cache or folder, base, seed)
