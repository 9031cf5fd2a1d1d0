"""One thing to know before work starts, and how a look at something becomes one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.errors import HeadraceError, Outage
from core.schema.reading import BadSettings, Mistake, shown

Severity = Literal["mistake", "outage", "warning", "corrected"]


@dataclass(frozen=True)
class Finding:
    """place: recipes/a.yaml:14, or what it is about."""

    severity: Severity
    place: str
    message: str


def tried(place: str, look: Callable[[], object]) -> list[Finding]:
    """What a look raises; nothing when it raises nothing."""
    try:
        look()
    except Outage as error:
        return [Finding("outage", place, str(error))]
    except BadSettings as error:
        return mistakes_in(error.path, error.mistakes)
    except HeadraceError as error:
        return [Finding("mistake", place, str(error))]
    return []


def mistakes_in(path: Path, mistakes: Iterable[Mistake]) -> list[Finding]:
    """The mistakes of a settings file, each at its line."""
    return [Finding("mistake", f"{shown(path)}:{each.line}", each.message) for each in mistakes]
