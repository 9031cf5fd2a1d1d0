"""Random promotions, rollbacks and aliases moved in MLflow: the ledger, replayed, is what the registry holds."""

from __future__ import annotations

import contextlib
import os
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import BadRequest
from registry.promotion import journal, promotion
from registry.promotion.gate import Verdict
from registry.promotion.ledger import champion
from registry.store import versions
from registry.store.connection import connect, exclusive
from registry.version import register_version
from tests.small_model import aliases, candidate, make_small_model, trusting

pytestmark = pytest.mark.slow

MOVES = int(os.environ.get("TEST_MOVES", "40"))
NAME = "films"
PASSED = ("1", "2", "4")  # the gates of 3 refused it


@dataclass
class Expected:
    """What should be so, kept without the ledger: who was champion, in order, as far as it was not rolled back."""

    line: list[str] = field(default_factory=list)
    told: list[tuple[datetime, str | None]] = field(default_factory=list)  # a time, and who was champion then

    @property
    def champion(self) -> str | None:
        return self.line[-1] if self.line else None

    def promote(self, version: str, *, forced: bool = False) -> None:
        if version != self.champion and (forced or version in PASSED):
            self.line.append(version)

    def roll_back(self) -> None:
        if len(self.line) > 1:
            self.line.pop()


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with four versions of one model, none of them champion."""
    folder = tmp_path_factory.mktemp("replay")
    evidence = folder / "evidence"
    evidence.mkdir()
    for number in range(1, 5):
        model = make_small_model(folder / str(number), seed=number)
        with exclusive(folder / "var"):
            register_version.register(
                candidate(model, evidence, passed=str(number) in PASSED, promote=False), folder / "var"
            )
    return folder / "var"


def step(var: Path, draw: random.Random, expected: Expected) -> str:
    """One move, as a person or the watcher makes it; what it was."""
    version = draw.choice("1234")
    move = draw.choice(["promote", "promote", "force", "rollback", "alias", "alias", "alias removed"])
    if move == "promote":
        with contextlib.suppress(promotion.Refused):
            promotion.promote(NAME, version, var, trusting)
        expected.promote(version)
    elif move == "force":
        promotion.promote(NAME, version, var, trusting, forced="for a test")
        expected.promote(version, forced=True)
    elif move == "rollback":
        with contextlib.suppress(BadRequest):  # nobody was champion before
            promotion.rollback(NAME, var, lambda *_: Verdict(True, []))
        expected.roll_back()
    elif move == "alias":
        connect(var).set_registered_model_alias(NAME, "champion", version)
        if draw.random() < 0.7:  # the watcher sees it before anything else happens
            promotion.settle(NAME, var, trusting)
            expected.promote(version)
    else:
        connect(var).delete_registered_model_alias(NAME, "champion")
    return f"{move} {version}"


def test_the_ledger_replayed_is_the_registry(var: Path) -> None:
    draw, expected, done = random.Random(11), Expected(), list[str]()
    client = connect(var)
    for _ in range(MOVES):
        done.append(step(var, draw, expected))
        asked = versions.raw_champion(client, NAME)
        assert aliases(NAME, var).get("champion") == expected.champion, done  # what is served, whatever the alias says
        expected.told.append((datetime.now(UTC), expected.champion))
        if draw.random() < 0.5 and asked != expected.champion:  # the watcher comes by later
            promotion.settle(NAME, var, trusting)
            if asked is not None:
                expected.promote(asked)
            assert versions.raw_champion(client, NAME) == expected.champion, done
    promotion.settle(NAME, var, trusting)
    chain = journal.read(client, NAME)
    assert chain.faults == []
    assert chain.champion == versions.raw_champion(client, NAME)
    assert chain.head is not None
    assert (chain.head.champion, chain.head.settled) == (chain.champion, True)
    assert [champion(chain.entries, at) for at, _ in expected.told] == [version for _, version in expected.told]
    assert {entry.action for entry in chain.entries} == {"registered", "promoted", "rolled back", "refused"}
