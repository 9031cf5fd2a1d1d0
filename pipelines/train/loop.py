"""A learner and encoded rows -> the trained module and the history of its training: the loop, on accelerate.

Equal inputs, seed and thread count give equal weights, also when the training was killed and goes on from a checkpoint:
all that decides the rest of it is kept there. Imports torch and transformers at once.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa
import torch
from accelerate.utils import set_seed
from torch import Tensor
from torch.utils.data import SequentialSampler

from core.errors import HeadraceError
from core.progress import Progress
from core.schema.model import Training
from core.tables.learner import History, TorchLearner, sampled_after
from pipelines.train.acceleration import accelerator_of, ready
from pipelines.train.average import Average
from pipelines.train.batches import AnyOrder, EncodedRows, LikeLengths, batches_of, by_length
from pipelines.train.checkpoints import Checkpoint, Checkpoints
from pipelines.train.history import Best, Lines, Listener
from pipelines.train.optimizers import TurnOptimizer
from pipelines.train.resume import State, kept, put_back
from pipelines.train.training_state import restore_random
from pipelines.train.validation import validated

CHECKPOINT_EVERY_S = 300.0  # and at the end of every epoch
_LOGS = 100  # lines of the history beside the epochs' ends


@dataclass(frozen=True)
class Plan:
    """How to train. checkpoints: where to go on from, and to write to every CHECKPOINT_EVERY_S seconds and every epoch;
    None: neither. fits: raises where the memory is too small for the learner on these rows.
    """

    training: Training
    checkpoints: Checkpoints | None = None
    fits: Callable[[TorchLearner, EncodedRows, Training], None] = lambda learner, rows, training: None


def fit(
    learner: TorchLearner,
    train: pa.Table,
    validation: pa.Table,
    plan: Plan,
    *,
    listen: Listener = lambda step, metrics: None,
) -> History:
    """Train the learner's module in place. Returns the metrics by step; `listen` hears them as they come.

    Goes on from the newest whole checkpoint; `listen` then hears again what was before it.
    With `patience`, ends after so many epochs without a better validation loss, and the best epoch's weights stand.
    With `average`, validation sees the averaged weights, and they are what stands at the end.
    Raises HeadraceError when the loss is no number, BadRequest where the machine or the module cannot do what is asked.
    """
    rows = EncodedRows(learner.features(train))
    watched = EncodedRows(by_length(learner.features(validation))) if validation.num_rows else None
    newest = plan.checkpoints.newest() if plan.checkpoints else None
    loop = Loop(learner, rows, plan, listen)
    plan.fits(learner, rows, plan.training)
    with loop.progress:
        if newest is not None:
            loop.go_on(newest)
        loop.run(watched)
    return loop.state.lines.lines


class Loop:
    """A training under way. `step` counts the updates of the weights that were made."""

    def __init__(self, learner: TorchLearner, rows: EncodedRows, plan: Plan, listen: Listener) -> None:
        self.learner, self.rows, self.plan, self.training = learner, rows, plan, plan.training
        set_seed(self.training.seed)
        self.batches = math.ceil(len(rows) / self.training.batch_size)  # of an epoch
        self.updates = math.ceil(self.batches / self.training.accumulate)  # of an epoch
        self.steps = max(1, math.ceil(self.updates * self.training.epochs))
        self.progress = Progress("train", total=self.steps, unit="steps")
        self.accelerator = accelerator_of(self.training)
        self.module = ready(learner.module, self.training, self.accelerator)
        self.state = self._state(Lines(listen, self.progress, every=max(1, self.steps // _LOGS)))
        self.step, self.saved = 0, time.monotonic()
        self.found: Checkpoint | None = None

    def _state(self, lines: Lines) -> State:
        module, training, rows = self.learner.module, self.training, self.rows
        return State(
            module=module,
            accelerator=self.accelerator,
            optimizers=[
                TurnOptimizer(turn, module, self.accelerator, training, steps=self.steps) for turn in self.learner.turns
            ],
            lines=lines,
            order=AnyOrder(len(rows), seed=training.seed)
            if rows.lengths is None
            else LikeLengths(rows.lengths, training.batch_size * training.accumulate),
            average=None if training.average is None else Average(module, training.average),
            best=None if training.patience is None else Best(module, training.patience),
            samples=self.learner.samples,
        )

    def go_on(self, checkpoint: Checkpoint) -> None:
        """Put everything back as it was after the checkpoint's last update."""
        print(f"train: going on after step {checkpoint.step} of {self.steps}", file=sys.stderr, flush=True)
        self.progress.advance(checkpoint.step)
        put_back(self.state, checkpoint)
        self.step, self.found = checkpoint.step, checkpoint

    def run(self, validation: EncodedRows | None) -> None:
        """Every epoch that is left, each with its validation; then the weights that are to stay."""
        for number in range(self.step // self.updates, math.ceil(self.training.epochs)):
            epoch = self._epoch(number)
            if self.watch(validation, number, epoch) or self.step == self.steps:
                break
            self.save(within_epoch=False)
        if self.state.average is not None:
            self.state.average.exchange()
        if self.state.best is not None:
            self.state.best.put_back()
        for name, value in self.learner.module.named_parameters():  # the last update is followed by no loss
            if not bool(torch.isfinite(value).all()):
                raise self._not_finite(f"the weights {name} are no numbers", self.step)

    def _epoch(self, number: int) -> float:
        """The updates of an epoch that are left, up to the training's last. Returns how many epochs have been seen."""
        done = self.step - number * self.updates
        order, size, accumulate = self.state.order, self.training.batch_size, self.training.accumulate
        if isinstance(order, AnyOrder):
            order.epoch = number
        batches = batches_of(self.rows, order, size=size, collate=self.learner.collate, skip=done * accumulate)
        if done and self.found is not None:  # before the first batch is made, which may draw at random
            restore_random(self.found.tensors["random"], self.found.state["random"])
        self.module.train()
        epoch = float(number)
        for update in range(done + 1, self.updates + 1):
            losses, last = self.update([self.here(batch) for _, batch in islice(batches, accumulate)])
            self.step += 1
            epoch = number + min(update * accumulate, self.batches) / self.batches
            self.state.lines.stepped(self.step, epoch, losses, last)
            if self.step == self.steps:
                break
            if update < self.updates and time.monotonic() - self.saved >= CHECKPOINT_EVERY_S:
                self.save(within_epoch=True)
        return epoch

    def update(self, batches: Sequence[Mapping[str, Tensor]]) -> tuple[dict[str, Tensor], dict[str, float | Tensor]]:
        """Every turn on the batches. Returns the losses, and what else the history says of the update."""
        losses: dict[str, Tensor] = {}
        last: dict[str, float | Tensor] = {}
        total = torch.zeros((), device=self.accelerator.device)
        for optimizer in self.state.optimizers:
            loss = optimizer.gradients(self.module, batches)
            if not torch.isfinite(loss):
                raise self._not_finite(f"the loss is {loss.item()}", self.step + 1)
            total += loss
            prefix = ""
            if optimizer.turn.name:
                prefix = f"{optimizer.turn.name}_"
                losses[f"{prefix}loss"] = loss
            last |= {f"{prefix}{name}": value for name, value in optimizer.step().items()}
        if self.state.average is not None:
            self.state.average.update(self.step + 1)
        return {"loss": total, **losses}, last

    def watch(self, validation: EncodedRows | None, number: int, epoch: float) -> bool:
        """Sample and validate after an epoch. True when the training is over, because enough epochs were no better."""
        with nullcontext() if self.state.average is None else self.state.average.applied():
            self._sample(number)
            return validation is not None and self._validate(validation, epoch)

    def _sample(self, number: int) -> None:
        if self.learner.sample is not None and number in sampled_after(self.training.epochs):
            self.learner.module.eval()
            self.state.samples[self.step] = self.learner.sample(self.learner.module)

    def _validate(self, validation: EncodedRows, epoch: float) -> bool:
        size = self.training.batch_size * 2
        batches = batches_of(validation, SequentialSampler(validation), size=size, collate=self.learner.collate)
        metrics = validated(self.learner, self.module, batches, self.accelerator)
        self.state.lines.add(self.step, epoch, metrics)
        return self.state.best is not None and self.state.best.is_over(metrics["eval_loss"])

    def save(self, *, within_epoch: bool) -> None:
        if self.plan.checkpoints is not None:
            self.plan.checkpoints.save(kept(self.state, self.step, within_epoch=within_epoch))
            self.saved = time.monotonic()

    def here(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.to(self.accelerator.device) for name, value in batch.items()}

    def _not_finite(self, what: str, step: int) -> HeadraceError:
        return HeadraceError(
            f"{what} at step {step} of {self.steps} with training.learning_rate {self.training.learning_rate:g}. "
            "Lower the rate, raise training.warmup, or lower training.max_grad_norm."
        )
