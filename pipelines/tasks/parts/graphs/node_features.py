"""What is known of a node as one row of numbers: its numbers, dates and categories as in tables, and its words.

Words are a bag: each has 1 / the number of different known words of the node, so that a node's words add up to 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from core.atomic_files import read_json, write_json
from core.errors import BadRequest
from core.schema.columns import Column
from core.schema.section import Section
from pipelines.tasks.parts.tables import column_input
from pipelines.tasks.parts.tables.column_input import MISSING

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.tasks.parts.graphs.sparse_arrays import csr_matrix

NAMED: Mapping[str, Column] = {"words": Column("text", feature=True), **column_input.NAMED}
_FILE = "words.json"


class FeatureOptions(Section):
    words: Annotated[list[str], Field(description="columns of texts whose words are features of a node")] = Field(
        default_factory=list
    )
    numbers: Annotated[list[str], Field(description="columns of numbers that are features")] = Field(
        default_factory=list
    )
    categories: Annotated[list[str], Field(description="columns of one of a few values each that are features")] = (
        Field(default_factory=list)
    )
    dates: Annotated[list[str], Field(description="columns of dates that are features")] = Field(default_factory=list)
    most_words: Annotated[int, Field(ge=1, description="words that are told apart: the commonest; others are none")] = (
        5000
    )

    @model_validator(mode="after")
    def _fit(self) -> FeatureOptions:
        names = self.columns
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"words, numbers, categories and dates name {twice[0]!r} twice")
        return self

    @property
    def columns(self) -> list[str]:
        return [*self.words, *self._of_tables]

    @property
    def _of_tables(self) -> list[str]:
        return [*self.numbers, *self.categories, *self.dates]

    def of_tables(self) -> column_input.Options | None:
        """The columns that are no words; None where there are none."""
        if not self._of_tables:
            return None
        return column_input.Options(numbers=self.numbers, categories=self.categories, dates=self.dates)


class NeededFeatures(FeatureOptions):
    @model_validator(mode="after")
    def _some(self) -> NeededFeatures:
        if not self.columns:
            raise ValueError("name the columns that are features under words, numbers, categories or dates")
        return self


class NodeFeatures:
    """What prepare() learnt. width: numbers of a node. columns: what each feature holds."""

    def __init__(self, folder: Path) -> None:
        told = read_json(folder / _FILE)
        self.words: list[str] = told["words"]
        self.places = {word: at for at, word in enumerate(told["vocabulary"])}
        self.table = column_input.read(folder) if told["table"] else None
        self.columns = {**dict.fromkeys(self.words, NAMED["words"]), **(self.table.features if self.table else {})}
        sizes = self.table.sizes if self.table else []
        self.starts = np.cumsum([0, *sizes])[:-1]  # of each category among the numbers that say which value it has
        self.width = len(self.places) + (2 * self.table.width + sum(sizes) if self.table else 0)

    def of(self, rows: pd.DataFrame) -> csr_matrix:
        """(rows, width) float32. Raises BadRequest for a cell that is no text, number or date."""
        from pipelines.tasks.parts.graphs.sparse_arrays import csr_matrix, hstack

        parts = [self._bag(rows)]
        if self.table is not None:
            numbers, categories = column_input.arrays(rows, self.table)
            missing = np.isnan(numbers)
            parts.append(csr_matrix(np.concatenate([np.where(missing, 0, numbers), missing], axis=1, dtype=np.float32)))
            row, column = np.nonzero(categories != MISSING)
            at = self.starts[column] + categories[row, column]
            ones = np.ones(len(row), np.float32)
            parts.append(csr_matrix((ones, (row, at)), shape=(len(rows), sum(self.table.sizes))))
        return csr_matrix(hstack(parts, format="csr", dtype=np.float32))

    def _bag(self, rows: pd.DataFrame) -> csr_matrix:
        from pipelines.tasks.parts.graphs.sparse_arrays import csr_matrix

        found = [sorted({at for word in _words(row, self.words) if (at := self.places.get(word)) is not None})
                 for row in _cells(rows, self.words)]  # fmt: skip
        ends = np.cumsum([0, *map(len, found)])
        values = np.repeat([1 / max(len(each), 1) for each in found], [len(each) for each in found])
        flat = np.array([at for each in found for at in each], np.int32)
        return csr_matrix((values.astype(np.float32), flat, ends), shape=(len(found), len(self.places)))


def prepare(batches: Iterable[pd.DataFrame], options: FeatureOptions, folder: Path) -> NodeFeatures:
    """Learn the words, and what column_input learns of the other columns. batches: iterated twice."""
    counts: Counter[str] = Counter()
    table = options.of_tables()
    for rows in batches if options.words else ():
        for cells in _cells(rows, options.words):
            counts.update(set(_words(cells, options.words)))
    vocabulary = sorted(counts, key=lambda word: (-counts[word], word))[: options.most_words]
    write_json(folder / _FILE, {"words": options.words, "vocabulary": vocabulary, "table": table is not None})
    if table is not None:
        column_input.prepare(batches, table, folder)
    return NodeFeatures(folder)


def _cells(rows: pd.DataFrame, names: list[str]) -> Iterable[tuple[Any, ...]]:
    if not names:
        return [()] * len(rows)
    return zip(*(rows[name] if name in rows else [None] * len(rows) for name in names), strict=True)


def _words(cells: tuple[Any, ...], names: list[str]) -> list[str]:
    """Of each cell its words; those of two columns are told apart."""
    found = []
    for name, cell in zip(names, cells, strict=True):
        if cell is None or cell != cell:
            continue
        if not isinstance(cell, str):
            raise BadRequest(f"column {name!r}: must be a text, got {cell!r}.")
        found += [word if len(names) == 1 else f"{name} {word}" for word in cell.casefold().split()]
    return found
