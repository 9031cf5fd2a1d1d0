"""A dictionary of entities: what was an entity in the training rows is one again, with its commonest label.

It is the baseline that every model of named entities must beat, and can be the model: it is a Learner and a Predictor.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from core.atomic_files import read_json, write_json
from core.cells.spans import Span, listed
from core.tables.task import Predictions
from pipelines.tasks.parts.entities import labelled_spans

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from core.tables.learner import History

FILE = "dictionary.json"
_WORD = re.compile(r"\w+|[^\w\s]")

Surface = tuple[str, ...]  # an entity's words and signs, in lower case


class EntityDictionary:
    """Surfaces, the label that each has most often, and in how large a share of its entities: how sure it is."""

    def __init__(self, entries: Mapping[Surface, tuple[str, float]] | None = None) -> None:
        self.entries = dict(entries or {})

    def fit(self, train: pa.Table, validation: pa.Table) -> History:
        """Learn the entities of the columns text and spans; there is nothing to validate."""
        self.learn(zip(train["text"].to_pylist(), train["spans"].to_pylist(), strict=True))
        return []

    def learn(self, rows: Iterable[tuple[str, str]]) -> None:
        """rows: texts and their spans, as tables keep them. Of labels that are equally common the first by name."""
        counts: defaultdict[Surface, Counter[str]] = defaultdict(Counter)
        for text, spans in rows:
            for span in listed(spans):
                counts[_surface(text[span.start : span.end])][span.label] += 1
        for surface, labels in sorted(counts.items()):
            label, times = min(labels.items(), key=lambda each: (-each[1], each[0]))
            self.entries[surface] = (label, times / labels.total())

    def find(self, text: str) -> Iterator[tuple[Span, float]]:
        """The entities in a text, the longest first from left to right, and their labels' shares."""
        words = list(_WORD.finditer(text))
        lower = [word[0].lower() for word in words]
        longest = max(map(len, self.entries), default=0)
        at = 0
        while at < len(words):
            ends = range(min(at + longest, len(words)), at, -1)
            end = next((end for end in ends if tuple(lower[at:end]) in self.entries), None)
            if end is None:
                at += 1
                continue
            label, share = self.entries[tuple(lower[at:end])]
            yield Span(words[at].start(), words[end - 1].end(), label), share
            at = end

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        texts = rows["text"].tolist()
        return labelled_spans.said(texts, map(self.find, texts))

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return labelled_spans.answers(predictions)

    def save(self, folder: Path) -> None:
        entries = [[list(surface), *said] for surface, said in sorted(self.entries.items())]
        write_json(folder / FILE, entries)

    @staticmethod
    def load(folder: Path) -> EntityDictionary:
        return EntityDictionary({tuple(words): (label, share) for words, label, share in read_json(folder / FILE)})


def _surface(text: str) -> Surface:
    return tuple(word.lower() for word in _WORD.findall(text))
