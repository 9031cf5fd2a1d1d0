"""Exact sync: whatever happened to the documents, and wherever a sync was killed, the index is what it would be if it
were made from nothing, and nothing that stayed is embedded again.

TEST_HISTORIES and TEST_KILLS ask for more than the few that fit the suite; TEST_SHM=1 works in memory, which is faster.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import small_index
from tests.small_pairs import pair_rows
from tests.sync_world import CHUNK, World, make_world

pytestmark = pytest.mark.slow

HISTORIES = int(os.environ.get("TEST_HISTORIES", "3"))
KILLS = int(os.environ.get("TEST_KILLS", "6"))
SEED = int(os.environ.get("TEST_SEED", "1"))
SENTENCES = [row["passage"].capitalize() + "." for row in pair_rows(40)]
CHUNKS = [dict(CHUNK), {"tokens": 32, "overlap": 8}]
SEARCHES = [
    dict(small_index.HYBRID),
    {**small_index.HYBRID, "language": "german"},
    {**small_index.HYBRID, "mode": "dense"},
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    if os.environ.get("TEST_SHM"):
        folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
        yield make_world(folder)
        shutil.rmtree(folder)
    else:
        yield make_world(tmp_path)


def text(chance: random.Random) -> str:
    return " ".join(chance.choices(SENTENCES, k=chance.randint(1, 8)))


def step(world: World, chance: random.Random) -> str:
    """Something happens to the documents or the settings; returns what."""
    names = sorted(world.documents)
    what = chance.choice(["add", "add", "edit", "rename", "duplicate", "delete", "settings"]) if names else "add"
    name, new = chance.choice(names or [""]), f"{chance.choice('ab')}/{chance.randint(0, 10**6)}.txt"
    if what == "add":
        world.documents[new] = text(chance)
    elif what == "edit":
        world.documents[name] = world.documents[name] + " " + text(chance)
    elif what == "rename":
        world.documents[new] = world.documents.pop(name)
    elif what == "duplicate":
        world.documents[new] = world.documents[name]
    elif what == "delete" and len(names) > 1:
        del world.documents[name]
    elif what == "settings":
        world.sections = {"chunk": chance.choice(CHUNKS), "search": chance.choice(SEARCHES)}
    return what


def assert_exact(world: World, root: Path, told: Any) -> None:
    """The live release against one made from nothing: every point, payload, vector and term."""
    held, anew = world.held(), world.rebuilt(root / "anew")
    assert held == anew, told
    documents = {payload["document"] for payload, *_ in held.values()}
    assert documents <= set(world.documents), f"ghosts after {told}"
    assert {world.documents[each] for each in documents} == set(world.documents.values()), told


@pytest.mark.parametrize("seed", range(SEED, SEED + HISTORIES))
def test_any_history_gives_the_index_that_is_made_from_nothing(world: World, seed: int) -> None:
    chance, root, told = random.Random(seed), world.root.parent, []
    for _ in range(3):
        told.append(step(world, chance))
    took_s = world.sync()
    for _ in range(4):
        before = world.texts()
        told.append(step(world, chance))
        if chance.random() < 0.3:
            told.append("crash")
            world.sync(kill_after_s=chance.uniform(0, took_s))
        world.sync()
        assert not before & world.embedded(), f"embedded again after {told}"
    assert_exact(world, root, told)


@pytest.mark.parametrize("seed", range(SEED, SEED + KILLS))
def test_a_sync_that_is_killed_is_repaired_by_the_next(world: World, seed: int) -> None:
    chance, root = random.Random(seed), world.root.parent
    for _ in range(8):
        step(world, chance)
    took_s = world.sync()
    for _ in range(3):
        step(world, chance)
    at_s = chance.uniform(0, took_s)
    world.sync(kill_after_s=at_s)
    world.sync()
    assert_exact(world, root, f"a kill after {at_s:.3f} of {took_s:.3f} s")
    assert not list((world.root / "var" / "qdrant" / "small").glob(".*")), "leftovers"
