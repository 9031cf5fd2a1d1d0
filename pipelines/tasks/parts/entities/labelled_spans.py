"""What tasks share whose answer is labelled spans of a text: labels, metrics, the trivial baseline, answers, a plot.

A model's answer to a text is kept as one JSON list, whose spans also say their text and how sure the model is.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.atomic_files import read_json, write_json
from core.cells.spans import Span, listed
from core.errors import BadData
from core.tables.task import LabelCounts, Place, Predictions, RowAnswers
from pipelines.tasks.parts.plots import MOST, drawn

if TYPE_CHECKING:
    import pandas as pd

METRICS: Mapping[str, bool] = {"f1": True, "precision": True, "recall": True, "macro_f1": True}
_COUNTS = ("found", "wrong", "missed")  # true positives, false positives, false negatives
_LABELS = "labels.json"
_DIGITS = 6  # of a confidence

Array = np.ndarray[Any, np.dtype[Any]]


class LabelledSpans:
    """What a task says whose answer is labelled spans of a text; core/tables/task.py says what each is."""

    metrics = METRICS
    primary = "f1"
    of_one_label: Sequence[str] = ()  # no column of the rows holds one label

    def units(self, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        return rows

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        return {"spans": units["spans"].to_numpy(dtype=object)}

    def measure(self, predictions: Predictions) -> Predictions:
        return measure(predictions)

    def score(self, measured: Predictions, weights: Array) -> dict[str, float]:
        return score(measured, weights)

    def label_names(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> Sequence[str]:
        return label_names(predictions)

    def label_counts(self, measured: Predictions, weights: Array) -> LabelCounts:
        return label_counts(measured, weights)

    def by_row(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> RowAnswers:
        return by_row(predictions)

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        return {}

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        plots(predictions, folder=folder)


def write_labels(batches: Iterable[pd.DataFrame], folder: Path) -> list[str]:
    """Number the labels that occur, in the order of their names. Raises BadData when there is none."""
    names = sorted({span.label for rows in batches for cell in rows["spans"] for span in listed(cell)})
    if not names:
        raise BadData(
            "no training row has a span: there is nothing to learn. Look at the column that `spans` is read from."
        )
    write_json(folder / _LABELS, names)
    return names


def read_labels(folder: Path) -> list[str]:
    names: list[str] = read_json(folder / _LABELS)
    return names


def said(texts: Sequence[str], found: Iterable[Iterable[tuple[Span, float]]]) -> Predictions:
    """What a model says about texts: `predicted`, the spans of each as JSON; `confidence`, that of its least sure one.

    found: for each text its spans, and how sure each is, 0 to 1. A text without spans has confidence 1.
    """
    cells, least = [], []
    for text, spans in zip(texts, found, strict=True):
        known = sorted(spans)
        parts = [
            {**span._asdict(), "text": text[span.start : span.end], "confidence": round(sure, _DIGITS)}
            for span, sure in known
        ]
        cells.append(json.dumps(parts, ensure_ascii=False, separators=(",", ":")))
        least.append(min((sure for _, sure in known), default=1.0))
    return {"predicted": np.array(cells, dtype=object), "confidence": np.array(least)}


def nothing(rows: int) -> Predictions:
    """No span in any text: right about most words."""
    return said([""] * rows, [()] * rows)


def answers(predictions: Predictions) -> pd.DataFrame:
    """One row a text: its spans, each with start, end, label, text and confidence, in their order."""
    import pandas as pd

    return pd.DataFrame({"spans": [json.loads(cell) for cell in predictions["predicted"]]})


def measure(predictions: Predictions) -> Predictions:
    """found, wrong and missed: (rows, labels + 1) counts of spans that are right, that are not, and that were not seen.

    A span is right when start, end and label all are (Tjong Kim Sang and De Meulder 2003, section 2.3). The columns are
    the labels of the truth, by name, so that models that are compared have the same; the last is all other labels.
    """
    truth = [set(listed(cell)) for cell in predictions["spans"]]
    labels = {label: at for at, label in enumerate(label_names(predictions))}
    counts = {name: np.zeros((len(truth), len(labels) + 1)) for name in _COUNTS}
    for row, (true, cell) in enumerate(zip(truth, predictions["predicted"], strict=True)):
        seen = set(listed(cell))
        for name, spans in zip(_COUNTS, (true & seen, seen - true, true - seen), strict=True):
            for span in spans:
                counts[name][row, labels.get(span.label, -1)] += 1
    return counts


def by_row(predictions: Predictions) -> RowAnswers:
    """The spans of each text beside the true ones; how many are wrong or were missed."""
    errors, said, true = list[int](), list[str](), list[str]()
    for true_cell, cell in zip(predictions["spans"], predictions["predicted"], strict=True):
        wanted, seen = listed(true_cell), listed(cell)
        errors.append(len(set(wanted) ^ set(seen)))
        texts = {(each["start"], each["end"]): each["text"] for each in json.loads(cell) if "text" in each}
        for words, spans in ((true, wanted), (said, seen)):
            words.append(_in_words(spans, texts))
    return RowAnswers(np.array(errors, float), "spans wrong or missed", said, true, predictions["confidence"])


def _in_words(spans: Iterable[Span], texts: Mapping[tuple[int, int], str]) -> str:
    """Spans with the text of those whose text is known."""
    told = (f"{each.label} {each.start}-{each.end} {texts.get(each[:2], '')}".rstrip() for each in sorted(spans))
    return "; ".join(told) or "no span"


def label_names(predictions: Predictions) -> list[str]:
    """The labels of the truth."""
    return sorted({span.label for cell in predictions["spans"] for span in listed(cell)})


def label_counts(measured: Predictions, weights: Array | None = None) -> LabelCounts:
    """How often each label of the truth is found, said, and there; without weights each row counts once."""
    rows = np.ones(len(measured["found"])) if weights is None else weights
    found, wrong, missed = ((rows @ measured[name])[:-1] for name in _COUNTS)
    return LabelCounts(found, found + wrong, found + missed)


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """METRICS. f1, precision and recall over all spans; macro_f1: the mean F1 of the labels that the truth has.

    0 where nothing was there to be found, or nothing was said.
    """
    found, wrong, missed = (weights @ measured[name] for name in _COUNTS)
    occurs = (found + missed)[:-1] > 0
    by_label = (2 * found / np.maximum(2 * found + wrong + missed, 1e-12))[:-1][occurs]
    right, false, absent = found.sum(), wrong.sum(), missed.sum()
    return {
        "f1": _share(2 * right, 2 * right + false + absent),
        "precision": _share(right, right + false),
        "recall": _share(right, right + absent),
        "macro_f1": float(by_label.mean()) if occurs.any() else 0.0,
    }


def _share(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else 0.0


def plots(predictions: Predictions, *, folder: Path) -> None:
    """f1_by_label.png: F1, precision and recall of each label that the truth has, and how many spans it has."""
    labels, counts = label_names(predictions), label_counts(measure(predictions))
    shown = np.sort(np.argsort(-counts.true, kind="stable")[:MOST])
    right, said, true = (each[shown] for each in (counts.right, counts.said, counts.true))
    shares = {
        "recall": right / np.maximum(true, 1),
        "precision": right / np.maximum(said, 1),
        "F1": 2 * right / np.maximum(said + true, 1),
    }
    title = "Spans found, by label"
    if len(shown) < len(labels):
        title = f"{title}: the {len(shown)} of {len(labels):,} labels with the most spans"
    path, height = folder / "f1_by_label.png", 1.4 + 0.6 * len(shown)
    with drawn(path, 6.4, height, texts=[labels[each] for each in shown]) as (axes, texts):
        for number, (name, values) in enumerate(shares.items()):
            axes.barh(np.arange(len(shown)) + 0.27 * (number - 1), values, height=0.25, label=name)
        axes.set_yticks(range(len(shown)), [f"{text} ({there:,.0f})" for text, there in zip(texts, true, strict=True)])
        axes.set(xlim=(0, 1), xlabel="share", title=title)
        axes.legend(loc="lower right")
