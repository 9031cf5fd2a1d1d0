"""Answers without a network: the best constant one, the sentence nearest to the question, a name in that sentence."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from core.tables.task import Predictions
from pipelines.tasks.parts.extraction import answer_texts

if TYPE_CHECKING:
    import pandas as pd

_SAMPLED = 2_000  # training rows that say which constant answer is best
_SENTENCE = re.compile(r"\S.*?(?:[.!?](?=\s|$)|[。！？]|\n|$)", re.DOTALL)
_NAME = re.compile(r"(?:\b[^\W\d_a-z]\w*|\b\d[\d.,:%]*\w*)(?:[ -](?:[^\W\d_a-z]\w*|\d[\d.,:%]*\w*))*")

Bounds = tuple[int, int]


def baselines(train: pd.DataFrame, units: pd.DataFrame) -> Mapping[str, Predictions]:
    """constant, sentence and name."""
    pairs = list(zip(units["question"], units["context"], strict=True))
    rarity = _rarity(train["context"])
    sentences = [_nearest_sentence(question, context, rarity) for question, context in pairs]
    names = [_name(question, context, found) for (question, context), found in zip(pairs, sentences, strict=True)]
    constant = _best_constant(train[:_SAMPLED])
    found = {"constant": [constant(context) for _, context in pairs], "sentence": sentences, "name": names}
    return {name: answer_texts.said(units["context"].tolist(), said, [1.0] * len(said)) for name, said in found.items()}


def _nothing(context: str) -> Bounds | None:
    return None


def _whole(context: str) -> Bounds | None:
    return 0, len(context)


def _first_sentence(context: str) -> Bounds | None:
    return next(sentences(context), None)


def _first_name(context: str) -> Bounds | None:
    return next((match.span() for match in _NAME.finditer(context)), None)


def _best_constant(train: pd.DataFrame) -> Callable[[str], Bounds | None]:
    """Which of some answers that do not look at the question has the greatest F1 on training rows."""

    def f1(answer: Callable[[str], Bounds | None]) -> float:
        contexts = train["context"].tolist()
        said = answer_texts.said(contexts, [answer(context) for context in contexts], [1.0] * len(contexts))
        return float(answer_texts.measure({**said, "answers": train["answers"].to_numpy(object)})["f1"].sum())

    return max((_nothing, _first_sentence, _first_name, _whole), key=f1)


def sentences(context: str) -> Iterator[Bounds]:
    """Where the sentences of a text stand, by their stops alone."""
    return ((match.start(), match.start() + len(match[0].rstrip())) for match in _SENTENCE.finditer(context))


def _rarity(contexts: Iterable[str]) -> Mapping[str, float]:
    """How much a shared word tells: the logarithm of in how many of the contexts one is that has it."""
    distinct = set(contexts)
    holding = Counter(word for context in distinct for word in set(answer_texts.normalised(context)))
    return {word: math.log((1 + len(distinct)) / count) for word, count in holding.items()}


def _nearest_sentence(question: str, context: str, rarity: Mapping[str, float]) -> Bounds | None:
    """The sentence whose shared words tell most; the first of equally good ones.

    After the sliding window of Richardson et al. 2013, which Rajpurkar et al. 2016 compare with.
    """
    asked, unknown = set(answer_texts.normalised(question)), max(rarity.values(), default=1.0)

    def told(bounds: Bounds) -> float:
        words = set(answer_texts.normalised(context[slice(*bounds)]))
        return sum(rarity.get(word, unknown) for word in asked & words)

    return max(sentences(context), key=told, default=None)


def _name(question: str, context: str, sentence: Bounds | None) -> Bounds | None:
    """The first name or number of a sentence that the question does not say; without one the sentence."""
    asked = set(answer_texts.normalised(question))
    if sentence is not None:
        for match in _NAME.finditer(context, *sentence):
            words = set(answer_texts.normalised(match[0]))
            if words and not words & asked:
                return match.span()
    return sentence
