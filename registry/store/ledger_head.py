"""What a registered model says of its own ledger, in a tag: the last entry, and the champion that was accepted."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_TAG = "headrace.ledger"  # of a registered model
_NOBODY = "-"
_SETTLED, _MOVING = "settled", "moving"


@dataclass(frozen=True)
class Head:
    """number, hash: of the last entry. settled: the alias was moved to the champion."""

    number: int
    hash: str
    champion: str | None
    settled: bool

    def __str__(self) -> str:
        return f"{self.number}:{self.hash}:{self.champion or _NOBODY}:{_SETTLED if self.settled else _MOVING}"


def parse_head(tag: str | None) -> Head | None:
    """The head that a tag says; None for no tag or one that is none."""
    parts = (tag or "").split(":")
    if len(parts) != 4 or not parts[0].isdecimal() or parts[3] not in (_SETTLED, _MOVING):
        return None
    return Head(int(parts[0]), parts[1], None if parts[2] == _NOBODY else parts[2], parts[3] == _SETTLED)
