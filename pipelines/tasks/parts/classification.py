"""What tasks share whose answer is one label of a fixed set: numbering, metrics, the trivial baseline, two plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.atomic_files import read_json, write_json
from core.errors import BadData
from core.tables.spelling import some, spelled
from core.tables.task import LabelCounts, Place, Predictions, RowAnswers
from pipelines.tasks.parts.plots import MOST, drawn

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

METRICS: Mapping[str, bool] = {"accuracy": True, "macro_f1": True, "log_loss": False, "calibration_error": False}
BINS = 15  # of equal width, as in Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2
LABELS = "labels.json"

Array = np.ndarray[Any, np.dtype[Any]]


class Labelled:
    """What a task says whose answer is one label of a fixed set; core/tables/task.py says what each is."""

    simple: Sequence[str] = ()
    metrics = METRICS
    primary = "accuracy"
    of_one_label: Sequence[str] = ("accuracy", "log_loss")  # means over rows; accuracy is then the label's recall

    def units(self, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        return rows

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        return {"label": label_numbers(units["label"], read_labels(at.folder))}

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        labels, classes = self.truth(train, at)["label"], len(read_labels(at.folder))
        found = {"majority": majority(labels, len(units), classes=classes)}
        if not at.base.starts(self.simple[0]):
            found[self.simple[0]] = {"probabilities": self.simple_probabilities(train, labels, units, at)}
        return found

    def simple_probabilities(self, train: pd.DataFrame, labels: Array, units: pd.DataFrame, at: Place) -> Array:
        """What the simple model says once it has learnt the training rows: (units, classes). labels: theirs."""
        raise NotImplementedError

    def measure(self, predictions: Predictions) -> Predictions:
        return measure(predictions)

    def score(self, measured: Predictions, weights: Array) -> dict[str, float]:
        return score(measured, weights)

    def label_names(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> Sequence[str]:
        return axes.get("probabilities", ())

    def label_counts(self, measured: Predictions, weights: Array) -> LabelCounts:
        return label_counts(measured, weights)

    def by_row(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> RowAnswers:
        return by_row(predictions["probabilities"], predictions["label"], axes.get("probabilities", ()))

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        return {"probabilities": read_labels(folder)}

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        plots(predictions, folder=folder, names=read_labels(prepared))


class LabelPredictor:
    """A predictor of probabilities. labels: their columns."""

    labels: Sequence[str]

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return answers(predictions, self.labels)


def right(outputs: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How many rows of a validation batch are right, as a learner's `watch` counts them."""
    return {"accuracy": (outputs.logits.argmax(dim=-1) == batch["labels"]).sum()}


def write_labels(batches: Iterable[pd.DataFrame], folder: Path) -> list[str]:
    """Number the labels that occur, in the order of their names. Raises BadData when there is only one."""
    names = sorted({label for rows in batches for label in rows["label"].astype(str).unique()})
    if len(names) < 2:
        raise BadData(f"the training rows have {len(names)} label ({', '.join(names)}). A classifier needs two.")
    write_json(folder / LABELS, names)
    return names


def read_labels(folder: Path) -> list[str]:
    names: list[str] = read_json(folder / LABELS)
    return names


def label_numbers(labels: pd.Series[str], names: Sequence[str]) -> Array:
    """Each row's label as its number. Raises BadData for a label that the training rows lack."""
    import pandas as pd

    numbers = pd.Index(names).get_indexer(pd.Index(labels.astype(str)))
    if (numbers < 0).any():
        unknown = sorted(set(labels.astype(str)) - set(names))
        raise BadData(
            f"label '{spelled(unknown[0])}' stands on {int((numbers < 0).sum())} rows of another split and on no "
            "training row. "
            f"Known: {some(names)}. Set data.split.stratify, or bring more rows of that label."
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
    labels = np.array(names, dtype=object)  # an array of strings has room for the longest one in each row
    return pd.DataFrame({"label": labels[probabilities.argmax(axis=1)], "confidence": probabilities.max(axis=1)})


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


def by_row(probabilities: Array, label: Array, names: Sequence[str]) -> RowAnswers:
    """Each row's most probable label beside the true one. probabilities: (rows, classes); label: (rows,).

    names: of the labels; where an earlier Headrace kept none, their numbers are said.
    """
    predicted, names = probabilities.argmax(axis=1), names or [str(at) for at in range(probabilities.shape[1])]
    said, true = ([names[each] for each in labels.tolist()] for labels in (predicted, label))
    return RowAnswers((predicted != label).astype(float), "wrong", said, true, probabilities.max(axis=1))


def score(measured: Predictions, weights: Array) -> dict[str, float]:
    """METRICS. Macro-F1 is over the labels that occur, as the true one or the predicted one.

    Calibration error: |accuracy - confidence| over BINS bins of confidence, weighted by their rows.
    """
    rows, counts = weights.sum(), label_counts(measured, weights)
    hits, seen = counts.right, counts.said + counts.true
    occurs = seen > 0
    gaps = np.bincount(measured["bin"], weights * measured["gap"])
    return {
        "accuracy": float(hits.sum() / rows),
        "macro_f1": float((2 * hits[occurs] / seen[occurs]).mean()),
        "log_loss": float(weights @ measured["loss"] / rows),
        "calibration_error": float(np.abs(gaps).sum() / rows),
    }


def label_counts(measured: Predictions, weights: Array) -> LabelCounts:
    """How often each label is predicted right, predicted, and true."""
    label, predicted, classes = measured["label"], measured["predicted"], int(measured["classes"][0])
    if classes**2 < len(label):  # counting the cells of the confusion matrix is quicker
        cells = np.bincount(label * classes + predicted, weights, classes**2).reshape(classes, classes)
        return LabelCounts(np.diagonal(cells), cells.sum(axis=0), cells.sum(axis=1))
    right = np.bincount(label, weights * (label == predicted), classes)
    return LabelCounts(right, np.bincount(predicted, weights, classes), np.bincount(label, weights, classes))


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
    _confusion(label, predicted, names, folder / "confusion.png")
    _calibration(probabilities.max(axis=1), predicted == label, folder / "calibration.png")


def _confusion(label: Array, predicted: Array, names: Sequence[str], path: Path) -> None:
    """Rows by true and predicted label; of more than MOST labels those that are confused most."""
    chosen = confused_most(label, predicted, len(names))
    shown = [names[each] for each in chosen]
    title = "Rows by true and predicted label"
    if len(chosen) < len(names):
        title = f"{title}: the {len(chosen)} of {len(names):,} labels that are confused most"
    side = 2.6 + 0.5 * len(shown)
    counts = _cells(label, predicted, chosen, len(names))
    true = np.bincount(label, minlength=len(names))[chosen][:, None]
    with drawn(path, side, side, texts=shown) as (axes, texts):
        axes.imshow(counts / np.maximum(true, 1), cmap="Blues", vmin=0, vmax=1)
        for row, column in np.argwhere(counts):
            count = counts[row, column]
            color = "white" if count * 2 > true[row, 0] else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=color)
        axes.set(xlabel="predicted", ylabel="true")
        axes.set_title(title, wrap=True)
        axes.set_xticks(range(len(texts)), texts, rotation=45, ha="right")
        axes.set_yticks(range(len(texts)), texts)


def confused_most(label: Array, predicted: Array, classes: int) -> Array:
    """The labels of the commonest confusions, MOST at most, in the order of the labels; then those of the most rows."""
    wrong = label != predicted
    pairs, times = np.unique(label[wrong] * classes + predicted[wrong], return_counts=True)
    often = pairs[np.argsort(-times, kind="stable")]
    frequent = np.argsort(-np.bincount(label, minlength=classes), kind="stable")
    wanted = np.concatenate([np.stack([often // classes, often % classes], axis=1).ravel(), frequent])
    first = np.unique(wanted, return_index=True)[1]
    return np.sort(wanted[np.sort(first)[:MOST]])


def _cells(label: Array, predicted: Array, chosen: Array, classes: int) -> Array:
    """The cells of the confusion matrix that belong to the chosen labels, without the others' in memory."""
    place = np.full(classes, -1)
    place[chosen] = np.arange(len(chosen))
    row, column = place[label], place[predicted]
    both = (row >= 0) & (column >= 0)
    cells = np.bincount(row[both] * len(chosen) + column[both], minlength=len(chosen) ** 2)
    return np.asarray(cells.reshape(len(chosen), len(chosen)))


def _calibration(confidence: Array, right: Array, path: Path) -> None:
    place = _bins(confidence)
    rows = np.bincount(place, minlength=BINS)
    used = rows > 0
    mean_confidence, accuracy = (
        np.bincount(place, weights=values, minlength=BINS)[used] / rows[used] for values in (confidence, right)
    )
    with drawn(path, 4.4, 4.2) as (axes, _):
        axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfectly calibrated")
        axes.plot(mean_confidence, accuracy, marker="o", label="model")
        axes.set(xlabel="confidence", ylabel="share right", title="Calibration", xlim=(0, 1), ylim=(0, 1))
        axes.legend(loc="upper left")
