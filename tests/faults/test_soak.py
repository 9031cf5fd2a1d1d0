"""A short, seeded soak: kills over all stages of a recipe and an index, and nothing to mend by hand afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.short import search


@pytest.mark.slow
def test_after_any_kill_the_next_run_finishes_by_itself(tmp_path: Path) -> None:
    found = search("soak", str(tmp_path), "--kills", "4", "--seed", "5")
    assert (found["faults"], found["kills"] >= 4) == (0, True), found
