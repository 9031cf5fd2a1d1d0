"""How near texts are to the true ones: chrF, BLEU, ROUGE-L and exact matches, from 0 to 1. Counts a text, once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.tables.task import Place, Predictions, RowAnswers
from pipelines.tasks.parts.plots import drawn

if TYPE_CHECKING:
    import pandas as pd

METRICS: Mapping[str, bool] = {"chrf": True, "bleu": True, "rouge_l": True, "exact_match": True}
_WORD = re.compile(r"\w+")
_BINS = 12

Array = np.ndarray[Any, np.dtype[Any]]


class WrittenTexts:
    """What a task says whose answer is a text; core/tables/task.py says what each is."""

    metrics = METRICS
    primary = "chrf"

    def units(self, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        return rows

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        return {"target": units["target"].to_numpy(dtype=object)}

    def measure(self, predictions: Predictions) -> Predictions:
        return measure(predictions["text"].tolist(), predictions["target"].tolist())

    def score(self, measured: Predictions, weights: Array) -> dict[str, float]:
        return score(measured, weights)

    def by_row(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> RowAnswers:
        """A text that differs from the true one in blanks alone, which chrF does not see, is written as that is."""
        said, true = predictions["text"].tolist(), predictions["target"].tolist()
        error = 1 - chrf_of(measure(said, true)["chrf"])
        told = [other if gap == 0 else one for one, other, gap in zip(said, true, error, strict=True)]
        return RowAnswers(error, "1 - chrF", told, true, predictions.get("confidence"))

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        return {}

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        plots(predictions["text"].tolist(), predictions["target"].tolist(), folder=folder)


def measure(said: Sequence[str], true: Sequence[str]) -> Predictions:
    """chrf: (texts, 18), counts of n-grams of 1 to 6 characters: said, true, both. bleu: (texts, 10), as sacrebleu
    counts them. rouge_l and exact: (texts,).
    """
    chrf, bleu = (np.array(metric._extract_corpus_statistics(said, [true]), float) for metric in _counters())
    return {
        "chrf": chrf.reshape(len(said), -1),
        "bleu": bleu.reshape(len(said), -1),
        "rouge_l": np.array([rouge_l(one, other) for one, other in zip(said, true, strict=True)], float),
        "exact": np.array([one == other for one, other in zip(said, true, strict=True)], float),
    }


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """METRICS. chrF and BLEU are of the sums of all texts' counts, the others means over texts."""
    chrf, bleu = (
        metric._compute_score_from_stats((weights @ measured[name]).tolist()).score / 100
        for metric, name in zip(_counters(), ("chrf", "bleu"), strict=True)
    )
    rouge_l, exact = (float(weights @ measured[name] / weights.sum()) for name in ("rouge_l", "exact"))
    return {"chrf": float(chrf), "bleu": float(bleu), "rouge_l": rouge_l, "exact_match": exact}


def chrf_of(counts: Array) -> Array:
    """chrF of each text by itself. counts: (texts, 18)."""
    chrf, _ = _counters()
    return np.array([chrf._compute_score_from_stats(each).score / 100 for each in counts.tolist()])


def rouge_l(said: str, true: str) -> float:
    """F1 of the longest common subsequence of words, letter case and punctuation left out; 1 where none has a word.

    Source: Lin 2004, section 3.
    """
    one, other = (_WORD.findall(text.lower()) for text in (said, true))
    if not one or not other:
        return float(one == other)
    longest = [0] * (len(other) + 1)
    for word in one:
        before = 0
        for at, each in enumerate(other, start=1):
            before, longest[at] = longest[at], before + 1 if word == each else max(longest[at], longest[at - 1])
    return 2 * longest[-1] / (len(one) + len(other))


def plots(said: Sequence[str], true: Sequence[str], *, folder: Path) -> None:
    """chrf_by_length.png: chrF of texts of like length, in groups of about as many."""
    counts, lengths = measure(said, true)["chrf"], np.array([len(text) for text in true])
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, _BINS + 1)))
    parts = [np.flatnonzero(np.searchsorted(edges[1:-1], lengths, side="right") == at) for at in range(len(edges) - 1)]
    parts = [part for part in parts if len(part)] or [np.arange(len(said))]
    chrf, _ = _counters()
    means = [chrf._compute_score_from_stats(counts[part].sum(axis=0).tolist()).score / 100 for part in parts]
    with drawn(folder / "chrf_by_length.png", 5.6, 3.6) as (axes, _):
        axes.plot([float(lengths[part].mean()) for part in parts], means, marker="o")
        axes.set(ylim=(0, 1), xlabel="characters of the true text", ylabel="chrF", title="chrF by length")


def _counters() -> tuple[Any, Any]:
    """sacrebleu's chrF and BLEU. Its counts a text, which its own significance tests resample, have no public name."""
    from sacrebleu.metrics import BLEU, CHRF

    return CHRF(), BLEU(force=True)
