"""Documents of one text and equal labels are searched once; their passages know every document that has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core.atomic_files import read_json
from pipelines.search.engine.engine import COPIES, Filters

FILE = "duplicates.json"  # in chunks/
UNREAD = "unread.json"  # beside it: the documents that could not be read
UNREAD_FIRST = "unread_first"  # the first of them, in published.json
LAYOUT = 3  # of these files, and of what a point says: another one is another version of every index
SINCE = 3  # the layout from which copies are known


class Holder(NamedTuple):
    """A document that has a passage. source: where it stood."""

    document: str
    source: str

    @property
    def section(self) -> str:
        """The first part of its path; nothing where it has but one."""
        section, inside, _ = self.document.partition("/")
        return section if inside else ""


def read_copies(chunks: Path) -> dict[str, list[Holder]]:
    """The copies of each document that has some, sorted."""
    found: dict[str, list[Holder]] = {}
    for row in read_json(chunks / FILE):
        found.setdefault(row["same_as"], []).append(Holder(row["document"], row["source"]))
    return {document: sorted(copies, key=lambda each: each.document) for document, copies in found.items()}


def as_payload(copies: Sequence[Holder]) -> dict[str, list[str]]:
    """What a point says of them: lists of equal length, in one order."""
    return {key: [getattr(each, name) for each in copies] for name, key in COPIES.items()} if copies else {}


def holders(payload: Mapping[str, Any]) -> list[Holder]:
    """Every document that has a passage, its own first."""
    own = Holder(payload["document"], payload["source"])
    if (copies := payload.get(COPIES["document"])) is None:
        return [own]
    return [own, *map(Holder, copies, payload[COPIES["source"]])]


def fitting(payload: Mapping[str, Any], filters: Filters) -> Holder | None:
    """The first of them that all filters fit; None: each fits another one."""
    wanted = {name: filters[name] for name in COPIES.keys() & filters.keys()}
    fits = (each for each in holders(payload) if all(getattr(each, name) == value for name, value in wanted.items()))
    return next(fits, None)
