"""A world of one's own, and one that has lived."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.promotion import promotion
from tests.gc.world import MODEL, World, free, make_parts, make_world
from tests.small_model import trusting
from tests.tiny_graph import TinyGraph, make_tiny_graph


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    make_parts(folder, 6)
    return folder


@pytest.fixture
def world(tmp_path: Path, parts: Path) -> World:
    return make_world(tmp_path / "world", parts)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, parts: Path) -> World:
    """Versions 1 (freed), 2 and 3 (champions once and now), 4 (freed) and 5 (the newest)."""
    made = make_world(tmp_path_factory.mktemp("lived") / "world", parts)
    for which in range(3):
        made.train(which)
    promotion.promote(MODEL, "2", made.var, trusting)
    promotion.promote(MODEL, "3", made.var, trusting)
    made.train(3, passed=False)
    made.train(4)
    made.commit()
    made.publish(0)
    free(made)
    return made


@pytest.fixture
def working_graph(tmp_path: Path) -> TinyGraph:
    return make_tiny_graph(tmp_path / "w")
