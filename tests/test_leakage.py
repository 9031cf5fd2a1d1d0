"""leakage: against the plainest possible definitions."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.tables.keys import codes
from pipelines.validate.row_facts import contradictions, count_repeats, leaks

ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2), st.booleans(), st.booleans()), max_size=40)


@given(ROWS)
def test_against_the_definitions(rows: list[tuple[int, int, bool, bool]]) -> None:
    keys = np.array([row[0] for row in rows], dtype=np.int64)
    labels = np.array([row[1] for row in rows], dtype=np.int64)
    in_test = np.array([row[2] for row in rows], dtype=bool)
    kept = np.array([row[3] for row in rows], dtype=bool)
    good = [(i, row) for i, row in enumerate(rows) if row[3]]

    assert count_repeats(keys, kept) == len(good) - len({row[0] for _, row in good})
    assert list(contradictions(keys, labels, kept)) == [
        i for i, row in good if any(other[0] == row[0] and other[1] != row[1] for _, other in good)
    ]
    assert list(leaks(keys, in_test, kept)) == [
        i for i, row in good if not row[2] and any(other[2] and other[0] == row[0] for _, other in good)
    ]


def test_codes_are_the_head_of_the_hash() -> None:
    assert list(codes(["0" * 64, "0" * 14 + "a" + "f" * 49])) == [0, 10]
