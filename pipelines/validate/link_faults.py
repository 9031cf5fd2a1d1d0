"""What is wrong with the links of a table whose rows are one graph: a name that no row has, a row linked to itself, a
row of which nothing is known but its links.

Rows go by in batches; what is kept of each name and each link is one number.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd

from core.cells.row_links import listed
from core.schema.columns import FAULT, Contract
from core.tables.keys import Numbers, among, codes
from pipelines.expectations.rules import Check

NOWHERE, ITSELF = "a link leads to a row", "a row links to others"
BARE, NAMELESS = "a row has features", "a row has a name"


class LinkFaults:
    """Looks at the links of a contract; there is nothing to look at where it has none."""

    def __init__(self, contract: Contract) -> None:
        self._links, self._itself = contract.links, bool(contract.self_links)
        self._names = str(contract.columns[self._links].of) if self._links is not None else ""
        self._features = [name for name, column in contract.columns.items() if column.feature]
        self._known: list[Numbers] = []
        self._ends: list[Numbers] = []  # of each link, the name it leads to
        self._rows: list[Numbers] = []  # of each link, the position of its row
        self._of_itself: list[Numbers] = []
        self._bare: list[Numbers] = []
        self._nameless: list[Numbers] = []

    def look(self, rows: pd.DataFrame) -> None:
        """Some more rows, whose index is their position. One that is set aside for another fault is still a row: a link
        to it is no fault."""
        if self._links is None:
            return
        names = _codes(rows[self._names].dropna())
        self._known.append(names)
        sound = rows[rows[FAULT].isna()]
        self._nameless.append(sound.index[sound[self._names].isna()].to_numpy(np.int64))
        ends = [listed(cell) for cell in sound[self._links]]
        at = np.repeat(sound.index.to_numpy(np.int64), [len(each) for each in ends])
        self._rows.append(at)
        self._ends.append(_codes([name for each in ends for name in each]))
        own = zip(sound[self._names], ends, strict=True)
        self._of_itself.append(sound.index[[name in each for name, each in own]].to_numpy(np.int64))
        if self._features:
            empty = (sound[self._features].isna() | (sound[self._features] == "")).all(axis="columns")
            self._bare.append(sound.index[empty].to_numpy(np.int64))

    def checks(self) -> Iterator[Check]:
        """A check of each fault, with the rows that have it."""
        if self._links is None:
            return
        yield self._check(NAMELESS, f"{self._names} is missing", self._names, _joined(self._nameless))
        ends, rows = _joined(self._ends), _joined(self._rows)
        nowhere = np.unique(rows[~among(ends, np.unique(_joined(self._known)))])
        yield self._check(NOWHERE, "{} names a row that is not there", self._links, nowhere)
        if not self._itself:
            words = "{} names the row itself (preprocess.self_links: true allows it)"
            yield self._check(ITSELF, words, self._links, _joined(self._of_itself))
        words = f"{{}} has no value in any of its features ({', '.join(self._features)})"
        yield self._check(BARE, words, self._names, _joined(self._bare))

    def _check(self, what: str, words: str, column: str, rows: Numbers) -> Check:
        return Check(what, words, (column,), rows, passed=not len(rows))


def _codes(names: Any) -> Numbers:
    return codes(sha256(str(name).encode("utf-8", "surrogatepass")).hexdigest() for name in names)


def _joined(parts: list[Numbers]) -> Numbers:
    return np.concatenate([np.empty(0, np.int64), *parts])
