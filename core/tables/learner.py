"""What a task hands over to be trained: a module for the project's own loop, or something that fits itself.

Importing this file imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa
    from torch import Tensor, nn

History = list[dict[str, float]]  # the metrics of a training by step: {"step": 10, "loss": 0.7, "learning_rate": 1e-3}
_SAMPLED = 8  # epochs after which a module is sampled at most
Row = dict[str, Any]  # one encoded row: numbers as they are, lists as numpy arrays


@runtime_checkable
class Learner(Protocol):
    """Something that fits itself in one go and keeps no checkpoints, such as an estimator of scikit-learn."""

    def fit(self, train: pa.Table, validation: pa.Table) -> History:
        """Learn from encoded rows. validation: may have no rows."""


def loss_of(module: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
    """The loss that the module itself returns: a mean over the batch."""
    loss: Tensor = module(**batch).loss
    return loss


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """Every parameter of the module that is not frozen."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def sampled_after(epochs: float) -> set[int]:
    """The epochs, counted from 0, after which a module is sampled: the last one, and some spread over the others."""
    whole = math.ceil(epochs)
    return {(at + 1) * whole // _SAMPLED - 1 for at in range(_SAMPLED)} - {-1}


def as_encoded(table: pa.Table) -> pa.Table:
    """The encoded rows as they are."""
    return table


@dataclass
class Said:
    """What a module says of a batch. loss: None where it was given no labels."""

    loss: Tensor | None
    logits: Tensor


@dataclass(frozen=True)
class Turn:
    """One optimizer's turn in an update of the weights. Most learners have one turn; a GAN has two.

    loss: the mean loss of a batch. It may call the module or parts of it.
    parameters: those that this turn's optimizer moves; gradients of this turn reach no others.
    betas: of AdamW. rate: a factor of the recipe's learning rate.
    name: what the history puts before this turn's loss, gradient norm and rate where there are several turns.
    """

    loss: Callable[[nn.Module, Mapping[str, Tensor]], Tensor] = loss_of
    parameters: Callable[[nn.Module], Iterable[nn.Parameter]] = trainable
    betas: tuple[float, float] = (0.9, 0.999)
    rate: float = 1.0
    name: str = ""


@dataclass
class TorchLearner:
    """A module and how it learns. The loop in pipelines/train/loop.py trains the module in place.

    collate: makes a batch of rows. Where it draws at random, it draws from the generators of torch, numpy or Python,
    which a checkpoint keeps.
    turns: taken one after another, on the same batches, in each update.
    features: what is trained on, made of the encoded rows. A column `length` makes batches of rows of like length.
    watch: of module(**batch) and a batch of validation rows, the sums over its rows of what is to be reported beside
    the loss; the sums of all batches are divided by the number of rows. Where it is given, the validation loss is the
    one that module(**batch) returns; otherwise it is the loss of the first turn.
    labels: whether logits (..., labels) are what module(**batch) says, and batch["labels"] what is true: a number each,
    -100 for none, or marks of several labels. Then class weights and label smoothing can help.
    sample: what the module makes of the same start every time; it draws from no generator that training draws from.
    samples: what it made after some epochs, by step. The loop fills them; where weights are averaged, with the average.
    """

    module: nn.Module
    collate: Callable[[list[Row]], dict[str, Tensor]]
    turns: Sequence[Turn] = (Turn(),)
    features: Callable[[pa.Table], pa.Table] = as_encoded
    watch: Callable[[Any, Mapping[str, Tensor]], Mapping[str, Tensor]] | None = None
    labels: bool = False
    sample: Callable[[nn.Module], Tensor] | None = None
    samples: dict[int, Tensor] = field(default_factory=dict)
