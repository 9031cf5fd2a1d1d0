"""Texts that are written without learning: the source itself, how it begins, what was written for the nearest one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from core.tables.task import Predictions

if TYPE_CHECKING:
    import pandas as pd

_NGRAMS = (2, 4)  # characters, within words: endings and parts of compounds count


def baselines(train: pd.DataFrame, units: pd.DataFrame) -> Mapping[str, Predictions]:
    """copy: the source. lead: its first words, as many as the median training target has.

    memory: the target of the nearest training source by TF-IDF, as a translation memory offers it.
    """
    sources = units["source"].tolist()
    most = int(np.median([len(text.split()) for text in train["target"]]))
    found = {
        "copy": sources,
        "lead": [_first_words(text, most) for text in sources],
        "memory": _memory(train["source"].tolist(), train["target"].tolist(), sources),
    }
    return {name: {"text": np.array(texts, dtype=object)} for name, texts in found.items()}


def _first_words(text: str, most: int) -> str:
    return " ".join(text.split()[: max(1, most)])


def _memory(known: Sequence[str], targets: Sequence[str], sources: Sequence[str]) -> list[str]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.neighbors import NearestNeighbors

    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=_NGRAMS)
    index = NearestNeighbors(n_neighbors=1, metric="cosine").fit(vectors.fit_transform(known))
    nearest = index.kneighbors(vectors.transform(sources), return_distance=False)[:, 0]
    return [targets[at] for at in nearest]
