"""The loss of labels with the recipe's class weights and label smoothing, in place of the module's own.

Validation keeps the module's own loss: what is better there does not depend on how training is helped. Imports torch at
once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional

from core.errors import BadRequest
from core.schema.model import Training
from core.tables.learner import TorchLearner

_NO_LABEL = -100  # of a place that has none, as torch's cross_entropy has it


def with_label_loss(learner: TorchLearner, training: Training, train: pa.Table) -> TorchLearner:
    """The learner, with the loss that the settings ask for. train: encoded rows.

    Raises BadRequest where the learner does not learn labels of a fixed set.
    """
    asked = [name for name in ("class_weights", "label_smoothing") if getattr(training, name)]
    if not asked:
        return learner
    if not learner.labels:
        raise BadRequest(f"training.{asked[0]}: this model does not learn labels of a fixed set. Take it out.")
    weights = None if training.class_weights is None else torch.from_numpy(balanced(train))
    loss = partial(label_loss, weights=weights, smoothing=training.label_smoothing)
    return replace(learner, turns=[replace(turn, loss=loss) for turn in learner.turns])


def balanced(train: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """A weight a label: of marks, (rows, labels), how many rows lack it for each that has it; of numbers rows / (labels
    x rows that have it). A label that no row has weighs 1.
    """
    column = train["labels"].combine_chunks()
    if pa.types.is_fixed_size_list(column.type):
        marked = np.asarray(column.flatten()).reshape(len(column), -1).sum(axis=0)
        return np.where(marked > 0, (len(column) - marked) / np.maximum(marked, 1), 1).astype(np.float32)
    numbers = np.asarray(column.flatten() if pa.types.is_list(column.type) else column)
    counts = np.bincount(numbers[numbers != _NO_LABEL])
    return np.where(counts > 0, counts.sum() / (len(counts) * np.maximum(counts, 1)), 1).astype(np.float32)


def label_loss(module: nn.Module, batch: Mapping[str, Tensor], *, weights: Tensor | None, smoothing: float) -> Tensor:
    """Cross-entropy of a label each, or of each token's; of marks, (rows, labels), binary cross-entropy.

    weights: (labels,), or fewer where the last labels stand on no training row.
    """
    logits: Tensor = module(**batch).logits
    labels = batch["labels"]
    if weights is not None:
        weights = functional.pad(weights, (0, logits.shape[-1] - len(weights)), value=1.0).to(logits)
    if labels.dim() == 2 and labels.shape == logits.shape:
        marks = labels.to(logits.dtype) * (1 - smoothing) + smoothing / 2
        each: Tensor = functional.binary_cross_entropy_with_logits(logits, marks, pos_weight=weights)
        return each
    flat, numbers = logits.flatten(0, -2), labels.flatten()
    if not bool((numbers != _NO_LABEL).any()):
        return flat.sum().mul(0.0)
    loss: Tensor = functional.cross_entropy(
        flat, numbers, weight=weights, ignore_index=_NO_LABEL, label_smoothing=smoothing
    )
    return loss
