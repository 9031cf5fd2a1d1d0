"""Counts of the training tokens as language models: how frequent a token is, and which tokens stand beside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from core.tables.task import Predictions
from pipelines.tasks.parts.language import perplexity
from pipelines.tasks.parts.language.masking import Hidden, Masks, Window, texts_of, windows

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PRIOR = 100.0  # of a token's neighbours: as many more as the frequency of all tokens would give
_NUMBERS = 2_000_000  # probabilities that are in memory at once
_TEXTS = 20_000  # of the training rows, in memory as tokens at once

Array = np.ndarray[Any, np.dtype[Any]]


class Neighbours:
    """unigram: (vocabulary,), the probability of each token wherever it stands, add-one smoothing.

    pairs: (vocabulary, vocabulary), sparse: how often one token stands before another. back: the same, transposed.
    """

    def __init__(self, blocks: Iterable[Sequence[Window]], vocabulary: int) -> None:
        """blocks: the training windows, as many at once as may be in memory."""
        from scipy.sparse import csr_array  # type: ignore[import-untyped]

        counts, self.pairs = np.ones(vocabulary), csr_array((vocabulary, vocabulary))
        for block in blocks:
            tokens = np.concatenate([window.ids for window in block])
            counts += np.bincount(tokens, minlength=vocabulary)
            within = np.ones(len(tokens) - 1, bool)
            within[np.cumsum([len(window.ids) for window in block])[:-1] - 1] = False  # none stands behind a window
            beside = (tokens[:-1][within], tokens[1:][within])
            self.pairs += csr_array((np.ones(len(beside[0])), beside), (vocabulary, vocabulary))
        self.unigram = counts / counts.sum()
        self.back = self.pairs.T.tocsr()

    def by_frequency(self, hidden: Sequence[Hidden]) -> tuple[Array, Array]:
        """Each hidden token by its frequency alone: its surprise, and whether it is the most probable one."""
        true = _true(hidden)
        return -np.log(self.unigram[true]), true == self.unigram.argmax()

    def by_neighbours(self, hidden: Sequence[Hidden]) -> tuple[Array, Array]:
        """The same by the tokens on both sides: P(t | left) P(t | right) / P(t), normalised.

        A neighbour that is hidden too says nothing. Both sides are smoothed by PRIOR times P(t) (Dirichlet; MacKay and
        Peto 1995), and given t they count as independent.
        """
        true = _true(hidden)
        left, right = (_beside(hidden, step) for step in (-1, 1))
        surprise, best = np.empty(len(true)), np.empty(len(true), np.int64)
        at_once = max(1, _NUMBERS // len(self.unigram))
        for start in range(0, len(true), at_once):
            part = slice(start, start + at_once)
            ahead = 1 + self.pairs[left[part]].toarray() / (PRIOR * self.unigram)
            found = self.unigram * ahead * (1 + self.back[right[part]].toarray() / (PRIOR * self.unigram))
            own = found[np.arange(len(found)), true[part]]
            surprise[part], best[part] = np.log(found.sum(axis=1)) - np.log(own), found.argmax(axis=1)
        return surprise, true == best


def baselines(
    train: Sequence[str], texts: Sequence[str], tokenizer: Tokenizer, masks: Masks, *, code: int
) -> dict[str, Predictions]:
    """What the counts of the texts `train` say of `texts`. code: the tokenizer's number (masking.py)."""
    blocks = (windows(tokenizer, train[at : at + _TEXTS]) for at in range(0, len(train), _TEXTS))
    counted = Neighbours(blocks, tokenizer.get_vocab_size())
    asked = windows(tokenizer, texts)
    hidden = list(masks.hidden(asked))
    of = texts_of(hidden, asked)
    return {
        name: perplexity.said(*found, of, texts=len(texts), tokenizer=code)
        for name, found in (
            ("unigram", counted.by_frequency(hidden)), ("neighbours", counted.by_neighbours(hidden)),
        )
    }  # fmt: skip


def _true(hidden: Sequence[Hidden]) -> Array:
    """The hidden tokens."""
    return np.concatenate([each.true for each in hidden]).astype(np.int64) if hidden else np.empty(0, np.int64)


def _beside(hidden: Sequence[Hidden], step: int) -> Array:
    """The token so many places from each hidden one; at a window's end the hidden place itself, which says nothing."""
    beside = [each.ids.take(each.places + step, mode="clip") for each in hidden]
    return np.concatenate(beside) if beside else np.empty(0, np.int64)
