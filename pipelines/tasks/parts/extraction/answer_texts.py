"""What tasks share whose answer is a part of a text, or nothing: truth, metrics, the threshold, answers, a plot.

"" says that there is no answer. Texts are compared as SQuAD compares them.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.atomic_files import read_json, write_json
from core.cells.answer_spans import listed
from core.tables.task import Place, Predictions, RowAnswers
from pipelines.tasks.parts.plots import drawn

if TYPE_CHECKING:
    import pandas as pd

METRICS: Mapping[str, bool] = {"f1": True, "exact_match": True, "f1_answerable": True, "answerability": True}
NO_ANSWER = "no answer"
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_THRESHOLD = "threshold.json"
_DIGITS = 4  # of a threshold
_BINS = 20

Array = np.ndarray[Any, np.dtype[Any]]


class AnswerTexts:
    """What a task says whose answer is a part of a text; core/tables/task.py says what each is."""

    metrics = METRICS
    primary = "f1"

    def units(self, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        return rows

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        return {"answers": units["answers"].to_numpy(dtype=object)}

    def measure(self, predictions: Predictions) -> Predictions:
        return measure(predictions)

    def score(self, measured: Predictions, weights: Array) -> dict[str, float]:
        return score(measured, weights)

    def by_row(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> RowAnswers:
        return by_row(predictions)

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        return {}

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        plots(predictions, folder=folder)


def normalised(text: str) -> list[str]:
    """The words of a text in lower case, without ASCII punctuation and English articles.

    Source: Rajpurkar et al. 2016, section 6.1; checked against the published evaluation script in the tests.
    """
    return _ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split()


def shared(said: Sequence[str], true: Sequence[str]) -> float:
    """F1 of two bags of words; where one has no word, 1 if both have none."""
    if not said or not true:
        return float(said == true)
    common = sum((Counter(said) & Counter(true)).values())
    return 2 * common / (len(said) + len(true))


def said(contexts: Sequence[str], found: Sequence[tuple[int, int] | None], sure: Sequence[float]) -> Predictions:
    """What a model says: `predicted`, the texts; `start` and `end`, both 0 where there is no answer; `confidence`.

    found: the characters of each context that are the answer, or None.
    """
    bounds = np.array([each or (0, 0) for each in found], dtype=np.int64).reshape(-1, 2)
    texts = [context[start:end] for context, (start, end) in zip(contexts, bounds.tolist(), strict=True)]
    return {
        "predicted": np.array(texts, object),
        "start": bounds[:, 0],
        "end": bounds[:, 1],
        "confidence": np.array(sure, float),
    }


def answers(predictions: Predictions) -> pd.DataFrame:
    """One row a question: the answer's text ("" for none), its first character, that after its last, and confidence."""
    import pandas as pd

    columns = {"answer": "predicted", "start": "start", "end": "end", "confidence": "confidence"}
    return pd.DataFrame({name: predictions[key] for name, key in columns.items()})


def measure(predictions: Predictions) -> Predictions:
    """f1, exact: of the nearest true answer. there: whether there is one; seen: whether that was said rightly."""
    scores = [_nearest(text, cell)[:2] for text, cell in _pairs(predictions)]
    there = np.array([cell != "[]" for cell in predictions["answers"]], float)
    told = np.array([bool(text) for text in predictions["predicted"]], float)
    f1, exact = np.array(scores, float).reshape(-1, 2).T
    return {"f1": f1, "exact": exact, "there": there, "seen": (there == told).astype(float)}


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """METRICS. f1_answerable: of the questions that have an answer; 0 where none has.

    answerability: how often it is said rightly whether there is an answer.
    """
    total, there = weights.sum(), weights @ measured["there"]
    return {
        "f1": float(weights @ measured["f1"] / total),
        "exact_match": float(weights @ measured["exact"] / total),
        "f1_answerable": float(weights @ (measured["f1"] * measured["there"]) / there) if there else 0.0,
        "answerability": float(weights @ measured["seen"] / total),
    }


def by_row(predictions: Predictions) -> RowAnswers:
    """The answer beside the true one that is nearest; one that shares all its words is written as it was said."""
    found = [_nearest(text, cell) for text, cell in _pairs(predictions)]
    told = [text or NO_ANSWER for text in predictions["predicted"]]
    true = [said if f1 == 1 else text or NO_ANSWER for said, (f1, _, text) in zip(told, found, strict=True)]
    error = 1 - np.array([f1 for f1, _, _ in found])
    return RowAnswers(error, "1 - F1 of words", told, true, predictions["confidence"])


def _pairs(predictions: Predictions) -> list[tuple[str, str]]:
    return list(zip(predictions["predicted"], predictions["answers"], strict=True))


def _nearest(text: str, cell: str) -> tuple[float, float, str]:
    """F1, exact match, and the true answer that they are of; "" is the one of a question without."""
    words, best = normalised(text), (-1.0, 0.0, "")
    for true in [answer.text for answer in listed(cell)] or [""]:
        other = normalised(true)
        both = bool(text) == bool(true)  # "a" has no word either, and is an answer
        best = max(best, (both * shared(words, other), float(both and words == other), true), key=lambda each: each[:2])
    return best


def best_threshold(margins: Array, answered: Array, silent: Array) -> float:
    """From which margin on answers are to be given, so that the mean F1 of some questions is greatest.

    margins: how much better an answer scores than none. answered, silent: each question's F1 with and without the
    answer. -inf: always; the lowest of equally good ones. Source: Rajpurkar et al. 2018, section 5.
    """
    order = np.argsort(-margins, kind="stable")
    gains = np.r_[0.0, np.cumsum((answered - silent)[order])]
    ends = np.flatnonzero(np.r_[True, np.diff(margins[order]) != 0, True])  # equal margins are not parted
    last = ends[len(ends) - 1 - int(gains[ends][::-1].argmax())]
    if last == len(order):
        return -math.inf
    above = margins[order[last - 1]] if last else margins[order[0]] + 2
    return round(float(above + margins[order[last]]) / 2, _DIGITS)


def write_threshold(threshold: float, folder: Path) -> None:
    write_json(folder / _THRESHOLD, {"margin": threshold if math.isfinite(threshold) else None})


def read_threshold(folder: Path) -> float:
    """What write_threshold() left."""
    margin: float | None = read_json(folder / _THRESHOLD)["margin"]
    return -math.inf if margin is None else margin


def plots(predictions: Predictions, *, folder: Path) -> None:
    """f1_by_confidence.png: the mean F1 of answers of like confidence, and how many there are."""
    measured, sure = measure(predictions), np.clip(predictions["confidence"], 0, 1)
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    count = np.bincount(bins, minlength=_BINS)
    means = np.bincount(bins, measured["f1"], minlength=_BINS) / np.maximum(count, 1)
    middle = (np.arange(_BINS) + 0.5) / _BINS
    with drawn(folder / "f1_by_confidence.png", 5.6, 5.0, panels=(2, 1)) as (axes, _):
        axes[0].bar(middle, means, width=0.9 / _BINS)
        axes[0].set(xlim=(0, 1), ylim=(0, 1), ylabel="mean F1", title="Answers by confidence")
        axes[1].bar(middle, count, width=0.9 / _BINS, color="0.6")
        axes[1].set(xlim=(0, 1), xlabel="confidence", ylabel="questions")
