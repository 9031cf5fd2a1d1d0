"""The head of a table: which of its columns are read, and what is said of those that are left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.errors import BadRequest

MOST_SAID = 5  # columns in a note


@dataclass(frozen=True)
class Header:
    """names: of the columns that are read. all: of all, as they stand there. notes: which are not read, and why."""

    names: list[str]
    all: list[str]
    notes: list[str] = field(default_factory=list)
    _at: list[int] | None = None

    def values(self, cells: Sequence[Any]) -> dict[str, Any]:
        """The cells of a row, one for each of `all`, under the names of those that are read."""
        if self._at is None:
            return dict(zip(self.names, cells, strict=True))
        return {name: cells[at] for name, at in zip(self.names, self._at, strict=True)}


def header_of(names: Sequence[str], needed: Collection[str], place: str) -> Header:
    """Columns without a name, and names that stand twice, are left out and said.

    Raises BadRequest where one that is needed stands twice, or where none is left.
    """
    nameless = [at for at, name in enumerate(names) if not name.strip()]
    twice = [name for name in dict.fromkeys(names) if name.strip() and names.count(name) > 1]
    if doubled := next((name for name in twice if name in needed), None):
        raise BadRequest(f"{place}: column {doubled!r} stands there twice. Rename one, got: {_listed(names)}")
    left_out = {*nameless, *(at for at, name in enumerate(names) if name in twice)}
    kept = [at for at in range(len(names)) if at not in left_out]
    if not kept:
        raise BadRequest(f"{place}: no column has a name of its own. The first line must name the columns.")
    notes = []
    if nameless:
        which = _listed(f"number {at + 1}" for at in nameless)
        notes.append(f"{place}: columns without a name are left out: {which}")
    if twice:
        notes.append(f"{place}: columns whose name stands there twice are left out: {_listed(map(repr, twice))}")
    return Header([names[at] for at in kept], list(names), notes, kept if left_out else None)


def _listed(names: Iterable[str]) -> str:
    first = list(names)
    more = len(first) - MOST_SAID
    return ", ".join(first[:MOST_SAID]) + (f" and {more} more" if more > 0 else "")
