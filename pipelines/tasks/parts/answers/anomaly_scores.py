"""What tasks share whose answer is how unusual something is: metrics of ranks and alarms, constant answer, plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.tables.task import Predictions, RowAnswers
from pipelines.tasks.parts.answers import label_ranks
from pipelines.tasks.parts.plots import drawn

if TYPE_CHECKING:
    import pandas as pd

METRICS: Mapping[str, bool] = {**label_ranks.METRICS, "f1": True}
TRUE = "true"
_WORDS = ("normal", "anomaly")
_TOLD = 3  # parts that an answer names
Array = np.ndarray[Any, np.dtype[Any]]


def constant(rows: int, parts: int) -> Predictions:
    """Nothing is an anomaly."""
    return {"score": np.zeros(rows), "anomaly": np.zeros(rows, bool), "contribution": np.zeros((rows, parts))}


def answers(predictions: Predictions, names: Sequence[str]) -> pd.DataFrame:
    """label: normal or anomaly; score: 1 is where alarms begin; because: the parts that add most, with their shares."""
    import pandas as pd

    because = []
    for parts in predictions["contribution"]:
        added = np.maximum(parts, 0)
        best = np.argsort(-added, kind="stable")[:_TOLD]
        total = added.sum() or 1.0
        because.append([{"input": names[at], "share": float(added[at] / total)} for at in best if added[at] > 0])
    label = [_WORDS[each] for each in predictions["anomaly"].astype(int)]
    return pd.DataFrame({"label": label, "score": predictions["score"], "because": pd.Series(because, dtype=object)})


def measure(predictions: Predictions) -> Predictions:
    """Each row's place in the order of scores, equal ones at the same; whether it is said to be, and is, an anomaly."""
    order = np.unique(predictions["score"], return_inverse=True)[1]
    return {"place": order.astype(np.int64), "said": predictions["anomaly"].astype(float), TRUE: predictions[TRUE]}


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """METRICS. Where all rows are anomalies, or none is, the area is a half, and the precision their share.

    f1: of the anomalies; 0 where there are none and none is said.
    """
    said, true = measured["said"], measured[TRUE]
    share = float(weights @ true / weights.sum())
    area, precision = label_ranks.areas(measured["place"], true, weights) or (0.5, share)
    both = weights @ said + weights @ true
    return {
        "roc_auc": area,
        "average_precision": precision,
        "f1": float(2 * (weights @ (said * true)) / both) if both > 0 else 0.0,
    }


def by_row(predictions: Predictions) -> RowAnswers:
    said, true = predictions["anomaly"].astype(int), predictions[TRUE].astype(int)
    words, truly = ([_WORDS[each] for each in some] for some in (said, true))
    return RowAnswers((said != true).astype(float), "wrong", words, truly)


def plots(predictions: Predictions, *, folder: Path) -> None:
    """scores.png: how normal rows and anomalies score. roc.png: anomalies found by normal rows taken for one."""
    scores, true = predictions["score"].astype(float), predictions[TRUE].astype(bool)
    shown = np.log10(np.maximum(scores, 1e-3))
    bins = np.histogram_bin_edges(shown, bins=40)
    with drawn(folder / "scores.png", 5.6, 3.6) as (axes, _):
        for word, rows in zip(_WORDS, (~true, true), strict=True):
            axes.hist(shown[rows], bins=bins, alpha=0.5, density=bool(rows.any()), label=word)
        axes.axvline(0, color="grey", linestyle="--", label="alarms begin")
        axes.set(
            xlabel="log10 of the score in thresholds", ylabel="density", title="Scores of normal rows and anomalies"
        )
        axes.legend()
    order = np.argsort(-scores, kind="stable")
    found, false = (np.cumsum(rows[order]) / max(1, rows.sum()) for rows in (true, ~true))
    with drawn(folder / "roc.png", 4.4, 4.2) as (axes, _):
        axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="by chance")
        axes.plot(np.r_[0, false], np.r_[0, found], label="model")
        axes.set(
            xlabel="normal rows taken for anomalies",
            ylabel="anomalies found",
            title="ROC curve",
            xlim=(0, 1),
            ylim=(0, 1),
        )
        axes.legend(loc="lower right")
