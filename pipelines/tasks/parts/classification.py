"""What tasks share whose answer is one label of a fixed set: numbering, metrics, the trivial baseline, two plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.atomic_files import read_json, write_json
from core.errors import BadData
from core.tables.task import Place, Predictions
from pipelines.tasks.parts.plots import new_figure, write_figure

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

METRICS: Mapping[str, bool] = {"accuracy": True, "macro_f1": True, "log_loss": False, "calibration_error": False}
BINS = 15  # of equal width, as in Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2
_LABELS = "labels.json"

Array = np.ndarray[Any, np.dtype[Any]]


class Labelled:
    """What a task says whose answer is one label of a fixed set; core/tables/task.py says what each is."""

    metrics = METRICS
    primary = "accuracy"

    def units(self, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        return rows

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        return {"label": label_numbers(units["label"], read_labels(at.folder))}

    def measure(self, predictions: Predictions) -> Predictions:
        return measure(predictions)

    def score(self, measured: Predictions, weights: Array) -> dict[str, float]:
        return score(measured, weights)

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        return {"probabilities": read_labels(folder)}

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        plots(predictions, folder=folder, names=read_labels(prepared))


def right(outputs: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How many rows of a validation batch are right, as a learner's `watch` counts them."""
    return {"accuracy": (outputs.logits.argmax(dim=-1) == batch["labels"]).sum()}


def write_labels(batches: Iterable[pd.DataFrame], folder: Path) -> list[str]:
    """Number the labels that occur, in the order of their names. Raises BadData when there is only one."""
    names = sorted({label for rows in batches for label in rows["label"].astype(str).unique()})
    if len(names) < 2:
        raise BadData(f"the training rows have {len(names)} label ({', '.join(names)}). A classifier needs two.")
    write_json(folder / _LABELS, names)
    return names


def read_labels(folder: Path) -> list[str]:
    names: list[str] = read_json(folder / _LABELS)
    return names


def label_numbers(labels: pd.Series[str], names: Sequence[str]) -> Array:
    """Each row's label as its number. Raises BadData for a label that the training rows lack."""
    import pandas as pd

    numbers = pd.Index(names).get_indexer(pd.Index(labels.astype(str)))
    if (numbers < 0).any():
        unknown = sorted(set(labels.astype(str)) - set(names))
        raise BadData(
            f"label {unknown[0]!r} stands on {int((numbers < 0).sum())} rows of another split and on no training row. "
            f"Known: {', '.join(names)}. Set data.split.stratify, or bring more rows of that label."
        )
    return np.asarray(numbers, dtype=np.int64)


def softmax(logits: Array) -> Array:
    """Probabilities in float64, so that rows add up to 1 within rounding. logits: (rows, classes)."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    exponents = np.exp(shifted)
    return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))


def answers(predictions: Predictions, names: Sequence[str]) -> pd.DataFrame:
    """One row an input: the most probable label and its probability."""
    import pandas as pd

    probabilities = predictions["probabilities"]
    return pd.DataFrame(
        {"label": np.asarray(names)[probabilities.argmax(axis=1)], "confidence": probabilities.max(axis=1)}
    )


def measure(predictions: Predictions) -> Predictions:
    """Statistics of probabilities (rows, classes) and label (rows,); loss: minus log of the true label's, in nats."""
    probabilities, label = predictions["probabilities"], predictions["label"]
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    right = (predicted == label).astype(np.float64)
    own = probabilities[np.arange(len(label)), label]
    loss = -np.log(np.clip(own, np.finfo(np.float64).eps, None))
    classes = np.full(len(label), probabilities.shape[1])
    bins, gap = _bins(confidence), right - confidence
    return {"label": label, "predicted": predicted, "classes": classes, "loss": loss, "bin": bins, "gap": gap}


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """METRICS. Macro-F1 is over the labels that occur, as the true one or the predicted one.

    Calibration error: |accuracy - confidence| over BINS bins of confidence, weighted by their rows.
    """
    rows, (hits, seen) = weights.sum(), _hits(measured, weights)
    occurs = seen > 0
    gaps = np.bincount(measured["bin"], weights * measured["gap"])
    return {
        "accuracy": float(hits.sum() / rows),
        "macro_f1": float((2 * hits[occurs] / seen[occurs]).mean()),
        "log_loss": float(weights @ measured["loss"] / rows),
        "calibration_error": float(np.abs(gaps).sum() / rows),
    }


def _hits(measured: Predictions, weights: Array) -> tuple[Array, Array]:
    """Of each label, how often it is predicted right, and how often it is the true one or the predicted one."""
    label, predicted, classes = measured["label"], measured["predicted"], int(measured["classes"][0])
    if classes**2 < len(label):  # counting the cells of the confusion matrix is quicker
        cells = np.bincount(label * classes + predicted, weights, classes**2).reshape(classes, classes)
        return np.diagonal(cells), cells.sum(axis=0) + cells.sum(axis=1)
    seen = np.bincount(label, weights, classes) + np.bincount(predicted, weights, classes)
    return np.bincount(label, weights * (label == predicted), classes), seen


def _bins(confidence: Array) -> Array:
    return np.minimum((confidence * BINS).astype(np.int64), BINS - 1)


def majority(train: Array, rows: int, *, classes: int) -> Predictions:
    """The training rows' shares of the labels, for every row: its log-loss is the labels' entropy."""
    shares = np.bincount(train, minlength=classes) / len(train)
    return {"probabilities": np.tile(shares, (rows, 1))}


def plots(predictions: Predictions, *, folder: Path, names: Sequence[str]) -> None:
    """confusion.png and calibration.png."""
    probabilities, label = predictions["probabilities"], predictions["label"]
    predicted = probabilities.argmax(axis=1)
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(counts, (label, predicted), 1)
    _confusion(counts, names, folder / "confusion.png")
    _calibration(probabilities.max(axis=1), predicted == label, folder / "calibration.png")


def _confusion(counts: Array, names: Sequence[str], path: Path) -> None:
    side = 2.6 + 0.5 * len(names)
    figure, axes = new_figure(side, side)
    axes.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            strong = count * 2 > line.sum()
            axes.text(column, row, f"{count:,}", ha="center", va="center", color="white" if strong else "black")
    axes.set(xlabel="predicted", ylabel="true", title="Rows by true and predicted label")
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    write_figure(figure, path)


def _calibration(confidence: Array, right: Array, path: Path) -> None:
    place = _bins(confidence)
    rows = np.bincount(place, minlength=BINS)
    used = rows > 0
    figure, axes = new_figure(4.4, 4.2)
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfectly calibrated")
    mean_confidence, accuracy = (
        np.bincount(place, weights=values, minlength=BINS)[used] / rows[used] for values in (confidence, right)
    )
    axes.plot(mean_confidence, accuracy, marker="o", label="model")
    axes.set(xlabel="confidence", ylabel="share right", title="Calibration", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="upper left")
    write_figure(figure, path)
