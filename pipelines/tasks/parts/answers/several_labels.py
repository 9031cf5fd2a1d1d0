"""What tasks share whose answer is any number of labels of a fixed set: numbering, metrics, baseline, plot.

A label is said where its probability reaches the threshold. Each label is a question of its own, yes or no.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.atomic_files import write_json
from core.cells.label_sets import listed
from core.errors import BadData
from core.tables.spelling import some, spelled
from core.tables.task import LabelCounts, Predictions, RowAnswers
from pipelines.tasks.parts.classification import LABELS
from pipelines.tasks.parts.plots import MOST, drawn

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

METRICS: Mapping[str, bool] = {
    "micro_f1": True, "macro_f1": True, "exact_match": True, "hamming_loss": False, "log_loss": False,
}  # fmt: skip
Array = np.ndarray[Any, np.dtype[Any]]


def write_labels(batches: Iterable[pd.DataFrame], folder: Path) -> list[str]:
    """Number the labels that occur, in the order of their names. Raises BadData where there is none."""
    cells = {cell for rows in batches for cell in rows["labels"].unique()}
    names = sorted({name for cell in cells for name in listed(cell)})
    if not names:
        raise BadData("no training row has a label. Nothing can be learnt from them.")
    write_json(folder / LABELS, names)
    return names


def marks(cells: pd.Series[str], names: Sequence[str]) -> Array:
    """1 for each label of a row, else 0: (rows, labels). Raises BadData for a label that the training rows lack."""
    place = {name: at for at, name in enumerate(names)}
    found = np.zeros((len(cells), len(names)), np.int8)
    for row, cell in enumerate(cells):
        for name in listed(cell):
            if name not in place:
                raise BadData(
                    f"label '{spelled(name)}' stands on rows of another split and on no training row. "
                    f"Known: {some(names)}. Bring more rows of that label, or leave it out."
                )
            found[row, place[name]] = 1
    return found


def right(outputs: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For how many rows of a validation batch every label is right, as a learner's `watch` counts them."""
    return {"exact_match": ((outputs.logits > 0) == (batch["labels"] > 0)).all(dim=1).sum()}


def measure(predictions: Predictions) -> Predictions:
    """Of probabilities and marks, (rows, labels): what is said, what is true, and the mean loss of a row in nats."""
    probabilities, true = predictions["probabilities"], predictions["marks"] > 0
    own = np.clip(np.where(true, probabilities, 1 - probabilities), np.finfo(np.float64).eps, None)
    said = probabilities >= predictions["threshold"][:, None]
    return {"said": said, "true": true, "loss": -np.log(own).mean(axis=1)}


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """METRICS. Micro-F1 counts every label of every row alike, macro-F1 is the mean over the labels that occur."""
    rows, counts = weights.sum(), label_counts(measured, weights)
    seen = counts.said + counts.true
    occurs = seen > 0
    wrong = (measured["said"] != measured["true"]).mean(axis=1)
    return {
        "micro_f1": float(2 * counts.right.sum() / seen.sum()) if occurs.any() else 1.0,
        "macro_f1": float((2 * counts.right[occurs] / seen[occurs]).mean()) if occurs.any() else 1.0,
        "exact_match": float(weights @ (wrong == 0) / rows),
        "hamming_loss": float(weights @ wrong / rows),
        "log_loss": float(weights @ measured["loss"] / rows),
    }


def label_counts(measured: Predictions, weights: Array) -> LabelCounts:
    """How often each label is said rightly, said, and true."""
    said, true = measured["said"], measured["true"]
    return LabelCounts(weights @ (said & true), weights @ said, weights @ true)


def by_row(predictions: Predictions, names: Sequence[str]) -> RowAnswers:
    """How many labels are wrong of each row, what is said and what is true in words, and the least sure of them."""
    measured, probabilities = measure(predictions), predictions["probabilities"]
    names = names or [str(at) for at in range(probabilities.shape[1])]
    said, true = ([_words(row, names) for row in measured[which]] for which in ("said", "true"))
    wrong = (measured["said"] != measured["true"]).sum(axis=1).astype(float)
    return RowAnswers(wrong, "labels wrong", said, true, np.maximum(probabilities, 1 - probabilities).min(axis=1))


def answers(predictions: Predictions, names: Sequence[str], threshold: float) -> pd.DataFrame:
    """One row an input: its labels, the most probable first, and the probability of each."""
    import pandas as pd

    labels, sure = [], []
    for row in predictions["probabilities"]:
        order = [at for at in np.argsort(-row, kind="stable") if row[at] >= threshold]
        labels.append([names[at] for at in order])
        sure.append([float(row[at]) for at in order])
    return pd.DataFrame({"labels": labels, "probabilities": sure})


def commonest(train: Array, rows: int) -> Predictions:
    """Each label's share of the training rows, for every row. train: (rows, labels)."""
    return {"probabilities": np.tile(train.mean(axis=0), (rows, 1))}


def plots(predictions: Predictions, *, folder: Path, names: Sequence[str]) -> None:
    """labels.png: precision and recall of each label; of more than MOST labels those of the most rows."""
    counts = label_counts(measure(predictions), np.ones(len(predictions["marks"])))
    chosen = sorted(np.argsort(-counts.true, kind="stable")[:MOST].tolist())
    place = np.arange(len(chosen))
    shares = {
        f"{word}": counts.right[chosen] / np.maximum(whole[chosen], 1)
        for word, whole in (("precision", counts.said), ("recall", counts.true))
    }
    with drawn(folder / "labels.png", 6.0, 1.6 + 0.35 * len(chosen), texts=[names[at] for at in chosen]) as drawing:
        axes, texts = drawing
        for at, (word, share) in enumerate(shares.items()):
            axes.barh(place + 0.4 * at, share, height=0.4, label=word)
        axes.set(xlim=(0, 1), title="Precision and recall of each label")
        axes.set_yticks(place + 0.2, texts)
        axes.invert_yaxis()
        axes.legend(loc="lower right")


def _words(marked: Array, names: Sequence[str]) -> str:
    return ", ".join(names[at] for at in np.flatnonzero(marked).tolist()) or "none"
