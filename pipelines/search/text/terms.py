"""Texts -> the terms that BM25 counts, and their weights. The engine multiplies by IDF, which changes with the corpus.

Words are stemmed by Snowball (Porter 2001) in the index's language; scripts without spaces (Chinese, Japanese, Thai)
give overlapping pairs of characters, which need no dictionary and find as much (docs/retrieval.md). A term's id is a
hash of it, so no vocabulary is kept and two indexes never disagree.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from core.schema.search import Language
from pipelines.search.text.sentences import word_set

Counts = np.ndarray[Any, np.dtype[np.int64]]
Weights = np.ndarray[Any, np.dtype[np.float64]]
VERSION = 1  # of the rules of this file: other terms from the same text need another number
K1, B = 1.2, 0.75  # Robertson & Zaragoza 2009, section 3.5
_STEP = 1.01  # average lengths are told apart by 1 %: a finer one would give every passage new weights at every edit

# Function words that BM25's IDF would give next to nothing anyway, and that would be a third of all terms: the list
# that Lucene's StandardAnalyzer began with.
_STOP: Mapping[str, frozenset[str]] = {
    "english": word_set(
        "a an and are as at be but by for if in into is it no not of on or such that the their then there these they",
        "this to was will with",
    )
}
# Scripts that are written without spaces between words: Thai, Lao, Myanmar, Khmer, kana, Han, and Han's rare ones.
SCRIPTS = (
    "\u0e01-\u0e4e\u0e81-\u0ecd\u1000-\u109f\u1780-\u17d3\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003fffd"
)
_UNSPACED = re.compile(rf"[{SCRIPTS}]")
_RUN = re.compile(rf"[{SCRIPTS}]+|(?:(?![{SCRIPTS}])\w){{2,}}")  # a single letter is a list's, or left of "don't"
_ASCII_RUN = re.compile(r"\w{2,}", re.ASCII)
_LONGEST = 64  # characters of a term; what is longer is no word, and only its beginning tells it apart


@dataclass(frozen=True)
class Sparse:
    """Term ids, and how often each stands in a text or how much it weighs there."""

    ids: Sequence[int] = ()
    values: Sequence[float] = ()


@dataclass(frozen=True)
class Analyser:
    """language: whose stems and stop words; "none" leaves words as they are."""

    language: Language = "english"
    _ids: dict[str, int | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides the terms of a text."""
        return {"rules": VERSION, "language": self.language}

    def terms(self, text: str) -> Sparse:
        """What BM25 counts of a text, each term once, sorted by id; of a question too, each repetition included."""
        counts: dict[int, int] = {}
        known = self._ids
        for word, count in Counter(words(text)).items():
            term = known[word] if word in known else self._id(word)
            if term is not None:
                counts[term] = counts.get(term, 0) + count
        ids = sorted(counts)
        return Sparse(ids, [counts[each] for each in ids])

    def _id(self, word: str) -> int | None:
        """Of a word that was not met yet; None: a stop word."""
        stopped = word in _STOP.get(self.language, frozenset())
        stem = self._stemmer.stemWord(word) if self._stemmer and not _UNSPACED.match(word) else word
        found = self._ids[word] = None if stopped else _hash(stem)
        return found

    @cached_property
    def _stemmer(self) -> Any:
        if self.language == "none":
            return None
        import Stemmer

        return Stemmer.Stemmer(self.language, 0)  # each word is asked for once: its own cache costs four times a stem


def words(text: str) -> Iterable[str]:
    """The words of a text, before they are stemmed; of scripts without spaces, each pair of neighbours."""
    if text.isascii():  # four times as fast, the same words
        return (run[:_LONGEST] for run in _ASCII_RUN.findall(text.lower()))
    return _words(unicodedata.normalize("NFKC", text).casefold())


def _words(text: str) -> Iterator[str]:
    for run in _RUN.findall(text):
        if _UNSPACED.match(run):
            yield from [one + two for one, two in pairwise(run)] or [run]
        else:
            yield run[:_LONGEST]


def _hash(term: str) -> int:
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=4).digest(), "big")


def average(lengths: int, texts: int) -> float:
    """The average length that weights are computed with: the true one, rounded to a step of 1 %.

    So a handful of edits leaves every other passage's weights as they are. 10 % would cost CACM .006 of nDCG@10.
    """
    if not lengths:
        return 1.0
    return float(_STEP ** round(math.log(lengths / texts, _STEP)))


def weights(counts: Counts, lengths: Counts, average_length: float) -> Weights:
    """A passage's part of BM25, a term: tf (k1 + 1) / (tf + k1 (1 - b + b length / average)).

    counts: how often each term stands in its passage. lengths: of that passage, in terms, an entry a term.
    Source: Robertson & Zaragoza 2009, equation 3.15, as Lucene and Qdrant have it.
    """
    norm = K1 * (1 - B + B * lengths / average_length)
    found: Weights = counts * (K1 + 1) / (counts + norm)
    return found
