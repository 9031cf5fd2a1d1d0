"""Which versions are needed and because of what, and what can go. Pure: flows/cleanup/gc.py brings the facts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPARED_S = 24 * 3600.0  # what was made in this time stays: work that is under way names it later
YOUNG = f"made in the last {SPARED_S / 3600:.0f} hours"
_UNITS = ("B", "KB", "MB", "GB", "TB")

Base = tuple[str, str | None]  # a registered model and a version of it; None: any of them


@dataclass(frozen=True)
class Held:
    """A version as it lies in the embedded store.

    made: when its files were written, in seconds since the epoch. ours: whether Headrace registered it.
    ledger_whole: whether its ledger can say what was champion. models: DVC's hashes of the model that it holds; None
    when that was not kept. bases: the versions that it was trained from. lock: the dvc.lock entries that made it.
    freed: whether its files were freed before. folder: where they lie, None when not on this machine.
    """

    name: str
    version: str
    model_id: str
    made: float
    ours: bool = True
    aliases: Sequence[str] = ()
    was_champion: bool = False
    ledger_whole: bool = True
    newest: bool = False
    models: frozenset[str] | None = frozenset()
    bases: frozenset[Base] = frozenset()
    lock: bytes = b""
    freed: bool = False
    folder: Path | None = None

    @property
    def called(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class Thing:
    """Something that takes space. what: its kind, in words. because: why it stays, or why it can go."""

    what: str
    name: str
    path: Path
    bytes: int
    free: bool
    because: str


def needed(
    held: Sequence[Held], *, named: Mapping[str, str], based: Mapping[Base, str], now: float, spared_s: float
) -> dict[str, str]:
    """The versions that something needs -> what does, in words.

    named: DVC's hashes that a dvc.lock names -> where that stands. based: the versions that a lock file or a published
    index names -> where. now: seconds since the epoch.
    """
    reasons = {each.called: why for each in held if (why := _reason(each, named, based, now, spared_s)) is not None}
    open_ = [each for each in held if each.called in reasons]
    while open_:
        above = open_.pop()
        below = dict.fromkeys(above.bases, f"{above.called} was trained from it")
        for each in held:
            shared = bool(each.model_id) and each.model_id == above.model_id
            why = f"it is the same files as {above.called}" if shared else _base_reason(each, below)
            if why is not None and each.called not in reasons:
                reasons[each.called] = why
                open_.append(each)
    return reasons


def rows(things: Iterable[Thing], *, free: bool) -> list[dict[str, Any]]:
    """One row for each kind and reason, as they came, of what can go or of what stays: what, count, bytes, because."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for thing in things:
        if thing.free == free:
            new = {"what": thing.what, "count": 0, "bytes": 0, "because": thing.because}
            row = found.setdefault((thing.what, thing.because), new)
            row["count"] += 1
            row["bytes"] += thing.bytes
    return list(found.values())


def table(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The rows for a person, in columns."""
    width = max((len(row["what"]) for row in found), default=0)
    for row in found:
        yield f"  {row['what']:<{width}}  {row['count']:>7,}  {size(row['bytes']):>9}  {row['because']}"


def size(count: float) -> str:
    """Bytes as people read them: 1.5 MB."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:,.1f} {_UNITS[unit]}" if unit else f"{count:,.0f} B"


def _reason(each: Held, named: Mapping[str, str], based: Mapping[Base, str], now: float, spared_s: float) -> str | None:
    if not each.ours:
        return "Headrace did not register it"
    if each.aliases:
        return f"@{each.aliases[0]} points at it"
    if each.was_champion:
        return "it was champion: rollback and history name it"
    if not each.ledger_whole:
        return "its ledger is not whole: what was champion cannot be known"
    if each.newest:
        return "the newest version"
    if each.models is None:
        return "what it was made of was not kept with it"
    if (where := next((named[model] for model in sorted(each.models) if model in named), None)) is not None:
        return f"{where} names its model"
    return _base_reason(each, based) or (YOUNG if now - each.made < spared_s else None)


def _base_reason(each: Held, based: Mapping[Base, str]) -> str | None:
    return based.get((each.name, each.version)) or based.get((each.name, None))
