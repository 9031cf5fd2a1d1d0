"""What was champion, when, by whom and on which evidence: a chain of entries, each holding the hash of the one before.

Pure. The chain is kept in the registry itself (registry/promotion/journal.py): all on a shared server see one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal

from core.atomic_files import to_json
from registry.store.ledger_head import Head

# registered: a version and its evidence are known from now on. refused: somebody moved the alias without evidence.
# removed: the model was renamed or deleted in MLflow with all its versions; what is registered next begins at 1 again.
Action = Literal["registered", "promoted", "rolled back", "refused", "removed"]
MOVES = ("promoted", "rolled back")
REMOVED: Action = "removed"
START = "0" * 64  # what the first entry follows


@dataclass(frozen=True)
class Entry:
    """One thing that happened to a model.

    at: ISO 8601, UTC. before, to: versions. evidence: hash of the version's bundle. forced: the reason somebody gave
    for going without evidence. previous: hash of the entry before. acknowledged: faults of the chain that were known.
    """

    model: str
    number: int
    at: str
    who: str
    action: Action
    before: str | None
    to: str | None
    model_hash: str | None
    evidence: str | None
    forced: str | None = None
    why: Sequence[str] = ()
    previous: str = START
    acknowledged: Sequence[str] = ()

    @property
    def text(self) -> str:
        """As it is kept: what is hashed is exactly this."""
        return to_json({**asdict(self), "why": list(self.why), "acknowledged": list(self.acknowledged)})

    @property
    def hash(self) -> str:
        return hash_of(self.text)

    def same_decision(self, other: Entry) -> bool:
        """Whether the two say the same but for the time: a repeat after a lost reply."""
        said = attrgetter("action", "before", "to", "model_hash", "evidence", "forced")
        return bool(said(self) == said(other))


@dataclass(frozen=True)
class Kept:
    """An entry as it was found: its text, and the hash that stood beside it."""

    number: int
    text: str
    hash: str


@dataclass(frozen=True)
class Chain:
    """The entries that can be read, in order, and what is wrong with the chain, in words.

    gone: the registry has no model of that name (any more).
    """

    entries: Sequence[Entry] = ()
    faults: Sequence[str] = ()
    head: Head | None = None
    texts: Sequence[Kept] = field(default=(), repr=False)
    gone: bool = False

    @property
    def current(self) -> Sequence[Entry]:
        """The entries about the versions that the registry has: those behind the last removal."""
        removals = [at for at, entry in enumerate(self.entries, start=1) if entry.action == REMOVED]
        return self.entries[max(removals, default=0) :]

    @property
    def last(self) -> Entry | None:
        return self.entries[-1] if self.entries else None

    @property
    def champion(self) -> str | None:
        """The version that was accepted last."""
        return champion(self.entries)


def hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_chain(model: str, kept: Sequence[Kept], head: Head | None, *, gone: bool = False) -> Chain:
    """The entries in order, with every fault: an altered, missing, doubled or foreign entry, a tail that was cut off.

    One entry beyond the head is none: its writer was stopped before it said so. gone: there is no model to have a head.
    """
    kept = sorted(kept, key=lambda each: each.number)
    entries: list[Entry] = []
    faults: list[str] = []
    expected, previous = 1, START
    for each in kept:
        faults += [f"entry {number} is missing" for number in range(expected, each.number)]
        if each.number < expected:
            faults.append(f"entry {each.number} stands there twice")
        entry = _parsed(each, model)
        if entry is None or hash_of(each.text) != each.hash:
            faults.append(f"entry {each.number} was altered")
        elif each.number == expected and entry.previous != previous:
            faults.append(f"entry {each.number} does not follow entry {each.number - 1}")
        if entry is not None:
            entries.append(entry)
        expected, previous = max(expected, each.number + 1), hash_of(each.text)
    if not gone:
        faults += _head_faults(kept, entries, head)
    known = {fault for entry in entries for fault in entry.acknowledged}
    return Chain(entries, [fault for fault in faults if fault not in known], head, kept, gone)


def champion(entries: Sequence[Entry], at: datetime | None = None) -> str | None:
    """The version that was champion at a time (with a zone; None: now), by the moves up to then."""
    move = champion_entry(entries, at)
    return move.to if move else None


def champion_entry(entries: Sequence[Entry], at: datetime | None = None) -> Entry | None:
    """The move that made the champion of a time, or the removal that left none."""
    moves = [entry for entry in entries if entry.action in (*MOVES, REMOVED)]
    if at is not None:
        moves = [entry for entry in moves if datetime.fromisoformat(entry.at) <= at]
    return moves[-1] if moves else None


def champion_before(entries: Sequence[Entry]) -> str | None:
    """What a rollback returns to: the champion before the present one, stepping over moves that were rolled back."""
    stack: list[str | None] = []
    for entry in entries:
        if entry.action == "promoted":
            stack.append(entry.to)
        elif entry.action == "rolled back" and stack:
            stack.pop()
        elif entry.action == REMOVED:
            stack.clear()
    return stack[-2] if len(stack) > 1 else None


def forced_of(entries: Sequence[Entry], version: str) -> list[Entry]:
    """The moves that made a version champion without evidence."""
    return [entry for entry in entries if entry.to == version and entry.forced is not None]


def _parsed(kept: Kept, model: str) -> Entry | None:
    try:
        told: Mapping[str, Any] = json.loads(kept.text)
        entry = Entry(**{**told, "why": tuple(told["why"]), "acknowledged": tuple(told["acknowledged"])})
        datetime.fromisoformat(entry.at)
    except (ValueError, TypeError, KeyError):
        return None
    return entry if (entry.model, entry.number) == (model, kept.number) else None


def _head_faults(kept: Sequence[Kept], entries: Sequence[Entry], head: Head | None) -> list[str]:
    last = kept[-1] if kept else None
    if head is None:
        anew = last is None or last.number == 1 or (bool(entries) and entries[-1].action == REMOVED)
        return [] if anew else ["the model does not name its last entry"]
    if last is None or last.number < head.number:
        return [f"entry {number} is missing" for number in range(last.number + 1 if last else 1, head.number + 1)]
    named = [each for each in kept if each.number == head.number]
    if not any(hash_of(each.text) == head.hash for each in named):
        return [f"entry {head.number} is not the one that the model names"]
    if last.number > head.number + 1:
        return [f"the model names entry {head.number} as its last, and there are {last.number}"]
    if last.number == head.number and head.champion != champion(entries):
        return [f"the model names {head.champion or 'nobody'} as champion, and the entries do not"]
    return []
