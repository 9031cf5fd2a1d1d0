"""Texts -> the terms that BM25 counts, and their weights. The engine multiplies by IDF, which changes with the corpus.

Words (words.py) are stemmed by Snowball (Porter 2001): in the index's language, and words of another script in the
language that most texts of that script are in. Pairs of characters are not stemmed. A term's id is a hash of it, so no
vocabulary is kept and two indexes never disagree.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import regex

from core.schema.search import Language
from pipelines.search.text import rules_1
from pipelines.search.text.sentences import word_set
from pipelines.search.text.words import PAIRED, words

if TYPE_CHECKING:
    import numpy as np

Counts: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Weights: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
VERSION = 2  # of the rules of this file and words.py: other terms from the same text need another number
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
# A script, the languages of Snowball that are written in it, and the one that an index of none of them takes.
_SCRIPTS: Sequence[tuple[str, frozenset[str], Language]] = (
    (r"\p{Arab}", frozenset({"arabic"}), "arabic"),
    (r"\p{Armn}", frozenset({"armenian"}), "armenian"),
    (r"\p{Cyrl}", frozenset({"russian", "serbian"}), "russian"),
    (r"\p{Deva}", frozenset({"hindi", "nepali"}), "hindi"),
    (r"\p{Grek}", frozenset({"greek"}), "greek"),
    (r"\p{Taml}", frozenset({"tamil"}), "tamil"),
)
# What one word is written with in two ways, and what stemmers must see: the i of capitals without a dot, a mute h.
_AS_ONE = str.maketrans({"ı": "i", "ة": "ه"})


@dataclass(frozen=True)
class Sparse:
    """Term ids, and how often each stands in a text or how much it weighs there."""

    ids: Sequence[int] = ()
    values: Sequence[float] = ()


@dataclass(frozen=True)
class Analyser:
    """language: whose stems and stop words; "none" leaves words as they are. rules: by which a release was made."""

    language: Language = "english"
    rules: int = VERSION
    _ids: dict[str, int | None] = field(default_factory=dict, repr=False, compare=False)

    @property
    def identity(self) -> Mapping[str, Any]:
        """What decides the terms of a text."""
        return {"rules": self.rules, "language": self.language}

    def terms(self, text: str) -> Sparse:
        """What BM25 counts of a text, each term once, sorted by id."""
        return self._counted(self._words(text))

    def asked(self, question: str) -> Sparse:
        """The same of a question, each repetition included."""
        return self._counted(self._words(question, asked=True))

    def _words(self, text: str, *, asked: bool = False) -> Iterable[str]:
        return rules_1.words(text) if self.rules == 1 else words(text, turkish=self.language == "turkish", asked=asked)

    def _counted(self, found: Iterable[str]) -> Sparse:
        counts: dict[int, int] = {}
        known = self._ids
        for word, count in Counter(found).items():
            term = known[word] if word in known else self._id(word)
            if term is not None:
                counts[term] = counts.get(term, 0) + count
        ids = sorted(counts)
        return Sparse(ids, [counts[each] for each in ids])

    def _id(self, word: str) -> int | None:
        """Of a word that was not met yet; None: a stop word."""
        stopped = word in _STOP.get(self.language, frozenset())
        found = self._ids[word] = None if stopped else _hash(self._stem(word))
        return found

    def _stem(self, word: str) -> str:
        if self.language == "none" or PAIRED.match(word):
            return word if self.rules == 1 else word.translate(_AS_ONE)
        if self.rules == 1:
            return str(stemmer(self.language).stemWord(word))
        return str(stemmer(self._language_of(word)).stemWord(word)).translate(_AS_ONE)

    def _language_of(self, word: str) -> Language:
        if not word.isascii():
            for script, languages, usual in _SCRIPTS:
                if regex.match(script, word):
                    return self.language if self.language in languages else usual
        return self.language


@cache
def stemmer(language: Language) -> Any:
    import Stemmer

    return Stemmer.Stemmer(language, 0)  # each word is asked for once: its own cache costs four times a stem


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
