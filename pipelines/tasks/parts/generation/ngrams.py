"""n-grams with modified Kneser-Ney smoothing, the honest baseline of a language model, in its own tokens.

Source: Chen and Goodman 1999, "An empirical study of smoothing techniques for language modeling", interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.tables.task import Predictions
from pipelines.tasks.parts import text_input, tokens
from pipelines.tasks.parts.generation import nats
from pipelines.tasks.parts.generation.chat import texts_of
from pipelines.tasks.parts.generation.sequences import Part
from pipelines.tasks.parts.generation.written_rows import own_texts, sequences, strings
from pipelines.tasks.parts.language.masking import tokenizer_code

if TYPE_CHECKING:
    import pandas as pd

MOST_ROWS = 100_000  # of the training rows, the first ones: each of their tokens is some numbers in memory
ORDERS = {"unigram": 1, "bigram": 2, "kneser_ney": 5}
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, its bits spread: 2**64 over the golden ratio (Knuth, volume 3, 6.4)
_SHIFT = np.uint64(29)
_USUAL = np.array([0.0, 0.5, 1.0, 1.5])  # discounts where counts are too few to estimate them

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class _Level:
    """n-grams of one length.

    grams: their hashes, ascending; share: what their own counts give their last token. contexts: the hashes of what
    stands before that, ascending; rest: what shorter n-grams have a say in; best: the token that is counted most.
    """

    grams: Array
    share: Array
    contexts: Array
    rest: Array
    best: Array


class NGrams:
    """P(token | up to `order` - 1 tokens before it in its sequence)."""

    def __init__(self, parts: Sequence[Part], order: int, vocabulary: int) -> None:
        """parts: training sequences; of each the first token is read, and all others are counted."""
        self.order, self.vocabulary = order, vocabulary
        contexts, tokens = self._hashed(parts, [np.arange(len(part.ids)) > 0 for part in parts])
        counted = np.arange(len(tokens))  # a place for each n-gram that counts
        levels = []
        for context in reversed(contexts):
            grams = _mixed(context, tokens)
            levels.append(_level(grams[counted], context[counted], tokens[counted]))
            counted = np.unique(grams, return_index=True)[1]  # shorter ones count what they stand behind, each once
        self.levels = levels[::-1]

    def said(self, parts: Sequence[Part], texts: Sequence[str], tokenizer: int) -> Predictions:
        """Of the own tokens of each part, as nats.said() has it."""
        contexts, tokens = self._hashed(parts, [part.own for part in parts])
        chance = np.full(len(tokens), 1.0 / self.vocabulary)
        best = np.zeros(len(tokens), np.int64)
        for level, context in zip(self.levels, contexts, strict=True):
            at, known = _found(level.contexts, context)
            gram, seen = _found(level.grams, _mixed(context, tokens))
            longer = np.where(seen, level.share[gram], 0.0) + level.rest[at] * chance
            chance, best = np.where(known, longer, chance), np.where(known, level.best[at], best)
        of = np.repeat([part.of for part in parts], [part.own.sum() for part in parts]).astype(np.int64)
        return nats.said(-np.log(chance), best == tokens, of, texts=texts, tokenizer=tokenizer)

    def _hashed(self, parts: Sequence[Part], wanted: Sequence[Array]) -> tuple[list[Array], Array]:
        """Of the wanted tokens: a hash of the n tokens before each, n from 0 to order - 1; and the tokens.

        What stands before a sequence is a token that none is.
        """
        before = np.full(self.order - 1, self.vocabulary)
        ids = np.concatenate([piece for part in parts for piece in (before, part.ids)] or [before]).astype(np.int64)
        skipped = np.zeros(self.order - 1, bool)
        want = np.concatenate([piece for each in wanted for piece in (skipped, each)] or [skipped])
        places = np.flatnonzero(want)
        hashes = [np.zeros(len(places), np.uint64)]
        for back in range(1, self.order):
            hashes.append(_mixed(hashes[-1], ids[places - back]))
        return hashes, ids[places]


def baselines(train: pd.DataFrame, units: pd.DataFrame, folder: Path) -> dict[str, Predictions]:
    """How likely the units are by how often single tokens, pairs and five of them stand in the training rows."""
    texts, code = texts_of(folder), tokenizer_code(folder / tokens.FILE)
    vocabulary = texts.tokenizer.get_vocab_size()
    of_rows = [
        sequences(texts, rows["text"].tolist(), strings(rows, "answer"), dialogue=dialogue)
        for rows, dialogue in ((train[:MOST_ROWS], False), (units, text_input.options(folder)["dialogue"]))
    ]
    said_texts = own_texts(units["text"].tolist(), strings(units, "answer"))
    return {
        name: NGrams(of_rows[0], order, vocabulary).said(of_rows[1], said_texts, code) for name, order in ORDERS.items()
    }


def _level(grams: Array, contexts: Array, tokens: Array) -> _Level:
    """The level of n-grams that stand in so many places; grams, contexts: of each place."""
    known, first, counts = np.unique(grams, return_index=True, return_counts=True)
    names, of = np.unique(contexts[first], return_inverse=True)
    taken = _discounts(counts)[np.minimum(counts, 3)]
    total = np.bincount(of, counts)
    order = np.lexsort((tokens[first], -counts, of))
    starts = np.searchsorted(of[order], np.arange(len(names)))
    return _Level(
        known, (counts - taken) / total[of], names, np.bincount(of, taken) / total, tokens[first][order][starts]
    )


def _discounts(counts: Array) -> Array:
    """What is taken of counts of 0, 1, 2, and 3 or more (Chen and Goodman 1999, equation 26)."""
    n = np.bincount(np.minimum(counts, 5), minlength=6)[:5].astype(float)
    if not n[1:].all():
        return _USUAL
    share = n[1] / (n[1] + 2 * n[2])
    estimated = np.array([0.0, *(k - (k + 1) * share * n[k + 1] / n[k] for k in (1, 2, 3))])
    found: Array = np.clip(estimated, 0.0, [0.0, 1.0, 2.0, 3.0])
    return found


def _mixed(hashes: Array, tokens: Array) -> Array:
    """The hashes with one token more each."""
    mixed: Array = (hashes ^ (tokens.astype(np.uint64) + np.uint64(1))) * _MIX
    found: Array = (mixed ^ (mixed >> _SHIFT)) * _MIX
    return found


def _found(known: Array, asked: Array) -> tuple[Array, Array]:
    """Where each is among those known, which ascend, and whether it is there at all."""
    at: Array = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return at, known[at] == asked
