"""A module and encoded rows -> the trained module and the history of training, through Hugging Face's Trainer.

Equal inputs, seed and thread count give equal weights, also when the training was killed and goes on from a checkpoint:
all that decides the rest of it is kept there. Imports torch and transformers at once.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from core.atomic_files import write_text
from core.errors import HeadraceError
from core.progress import Progress
from core.schema.model import Training
from pipelines.train import training_state
from pipelines.train.batches import EncodedRows, LikeLengths, Row, by_length
from pipelines.train.checkpoints import Checkpoint, Checkpoints

CHECKPOINT_EVERY_S = 300.0  # and at the end of every epoch
_LOGS = 100  # lines of the history beside the epochs' ends
_WALL_TIME = ("_runtime", "_per_second", "total_flos")  # differ from run to run: no part of the history
_TRAINER_STATE = "trainer_state.json"  # transformers' name: it reads the file itself

Listener = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Plan:
    """How to train. measure: what a pass over the validation rows says beside its loss.

    checkpoints: where to go on from and to write to, every CHECKPOINT_EVERY_S seconds and every epoch; None: neither.
    """

    training: Training
    collate: Callable[[list[Row]], dict[str, Tensor]]
    measure: Callable[[Any, Any], Mapping[str, float]]
    scratch: Path
    checkpoints: Checkpoints | None = None


def fit(
    module: nn.Module,
    train: pa.Table,
    validation: pa.Table,
    plan: Plan,
    *,
    listen: Listener = lambda step, metrics: None,
) -> list[dict[str, float]]:
    """Train the module in place. Returns the metrics by step; `listen` hears them as they come.

    Goes on from the newest whole checkpoint; `listen` then hears again what was before it.
    With `patience`, ends after so many epochs without a better validation loss, and the best epoch's weights stand.
    Raises HeadraceError when the loss is no number.
    """
    updates = math.ceil(math.ceil(train.num_rows / plan.training.batch_size) / plan.training.accumulate)
    steps = max(1, math.ceil(updates * plan.training.epochs))
    newest = plan.checkpoints.newest() if plan.checkpoints else None
    with Progress("train", total=steps, unit="steps") as progress:
        trainer = _Trainer(
            plan,
            module,
            args=_arguments(plan, log_every=max(1, steps // _LOGS), validates=validation.num_rows > 0),
            train_dataset=EncodedRows(train),
            eval_dataset=EncodedRows(by_length(validation)) if validation.num_rows else None,
            history=_History(listen, progress),
        )
        if newest is None:
            trainer.train()
        else:
            print(f"train: going on after step {newest.step} of {steps}", file=sys.stderr, flush=True)
            progress.advance(newest.step)
            trainer.go_on(newest)
    for name, value in module.named_parameters():  # the last update is followed by no loss
        if not bool(torch.isfinite(value).all()):
            raise _not_finite(f"the weights {name} are no numbers", trainer)
    return trainer.history.lines


class _Trainer(Trainer):  # type: ignore[misc]
    """Batches of like length where the rows say how long they are; a loss that is no number ends the training.

    Its checkpoints are ours instead of Trainer's: whole or unused, without pickle, and with what Trainer forgets (the
    loss since the last line, the order of batches by length, the best epoch's weights).
    """

    def __init__(self, plan: Plan, module: nn.Module, *, history: _History, **options: Any) -> None:
        self.history, self.checkpoints = history, plan.checkpoints
        self.best = _Best(plan.training.patience) if plan.training.patience is not None else None
        self.order: LikeLengths | None = None
        self._from: Checkpoint | None = None
        super().__init__(
            model=module,
            data_collator=plan.collate,
            compute_metrics=lambda seen: dict(plan.measure(seen.predictions, seen.label_ids)),
            callbacks=[history, *([self.best] if self.best else [])],
            **options,
        )
        if plan.checkpoints is not None:
            self.add_callback(_Checkpointing())
        self.remove_callback(PrinterCallback)

    def go_on(self, checkpoint: Checkpoint) -> None:
        """Train from a checkpoint on. Trainer asks below for each part of it when it has made what takes it."""
        self._from = checkpoint
        self.history.restore(checkpoint.state["history"])
        folder = Path(self.args.output_dir)
        write_text(folder / _TRAINER_STATE, json.dumps(checkpoint.state["trainer"]))
        try:
            self.train(resume_from_checkpoint=str(folder))
        finally:
            (folder / _TRAINER_STATE).unlink()

    def _get_train_sampler(self, train_dataset: EncodedRows | None = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        if rows.lengths is None:
            return super()._get_train_sampler(rows)
        self.order = LikeLengths(rows.lengths, self.args.train_batch_size * self.args.gradient_accumulation_steps)
        if self._from is not None and "order" in self._from.tensors["random"]:
            self.order.replay = self._from.tensors["random"]["order"]
        return self.order

    def training_step(self, *arguments: Any, **options: Any) -> Tensor:
        loss: Tensor = super().training_step(*arguments, **options)
        if not torch.isfinite(loss):
            raise _not_finite(f"the loss is {loss.item()}", self)
        return loss

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        if self.checkpoints is None or self.control.should_training_stop:
            return  # the last one: training would go on past its end from there
        optimizer, optimizer_rest = training_state.optimizer_parts(self.optimizer)
        generators, generators_rest = training_state.random_parts()
        if self.order is not None and self.order.drawn_from is not None and not _at_epoch_end(self.state):
            generators["order"] = self.order.drawn_from
        tensors = {"weights": training_state.learnt(self.model), "optimizer": optimizer, "random": generators}
        if self.best is not None:
            tensors["best"] = self.best.weights
        state = {
            "trainer": {**dataclasses.asdict(self.state), "log_history": []},  # the history stands once, below
            "schedule": self.lr_scheduler.state_dict(),
            "optimizer": optimizer_rest,
            "random": generators_rest,
            "history": self.history.as_json(),
            "best": self.best.as_json() if self.best else None,
            "loss_since_line": [self._tr_loss.item(), self._globalstep_last_logged],
        }
        self.checkpoints.save(Checkpoint(self.state.global_step, tensors, state))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        assert self._from is not None
        training_state.put_back(self.model, self._from.tensors["weights"])
        if self.best is not None:
            self.best.restore(self._from.state["best"], self._from.tensors.get("best", {}))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self._from is not None:
            training_state.restore_optimizer(
                self.optimizer, self._from.tensors["optimizer"], self._from.state["optimizer"]
            )
            self.lr_scheduler.load_state_dict(self._from.state["schedule"])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Called when the batches before the checkpoint have been passed over."""
        assert self._from is not None
        training_state.restore_random(self._from.tensors["random"], self._from.state["random"])
        loss, self._globalstep_last_logged = self._from.state["loss_since_line"]
        self._tr_loss += loss


class _History(TrainerCallback):  # type: ignore[misc]
    """Keeps what the Trainer logs, as far as it is the same in every run, and passes it on."""

    def __init__(self, listen: Listener, progress: Progress) -> None:
        self.listen, self.progress = listen, progress
        self.lines: list[dict[str, float]] = []
        self.loss = math.nan

    def as_json(self) -> dict[str, Any]:
        return {"lines": self.lines, "loss": None if math.isnan(self.loss) else self.loss}

    def restore(self, before: Mapping[str, Any]) -> None:
        """Go on behind these lines, and say them again: whoever listens may have missed the last of them."""
        self.lines = list(before["lines"])
        self.loss = math.nan if before["loss"] is None else before["loss"]
        for line in self.lines:
            self.listen(int(line["step"]), {name: value for name, value in line.items() if name != "step"})

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.progress.advance(1, loss=round(self.loss, 4))

    def on_log(self, args: Any, state: TrainerState, control: Any, *, logs: dict[str, float], **_: Any) -> None:
        metrics = {name: float(value) for name, value in logs.items() if not name.endswith(_WALL_TIME)}
        metrics.pop("train_loss", None)
        self.loss = metrics.get("loss", self.loss)
        if metrics.keys() - {"epoch"}:
            self.lines.append({"step": state.global_step, **metrics})
            self.listen(state.global_step, metrics)


class _Best(TrainerCallback):  # type: ignore[misc]
    """Early stopping: keeps the trained weights of the best epoch in memory and puts them back at the end."""

    def __init__(self, patience: int) -> None:
        self.patience, self.waited, self.lowest = patience, 0, math.inf
        self.weights: dict[str, Tensor] = {}

    def on_evaluate(self, args: Any, state: Any, control: TrainerControl, **told: Any) -> None:
        if (loss := told["metrics"]["eval_loss"]) < self.lowest:
            self.lowest, self.waited = loss, 0
            learnt = training_state.learnt(told["model"])
            self.weights = {name: value.detach().clone() for name, value in learnt.items()}
        else:
            self.waited += 1
            control.should_training_stop = self.waited >= self.patience

    def on_train_end(self, args: Any, state: Any, control: Any, *, model: nn.Module, **_: Any) -> None:
        if self.weights:
            training_state.put_back(model, self.weights)

    def as_json(self) -> dict[str, Any]:
        return {"waited": self.waited, "lowest": None if math.isinf(self.lowest) else self.lowest}

    def restore(self, before: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        self.waited, self.weights = before["waited"], dict(weights)
        self.lowest = math.inf if before["lowest"] is None else before["lowest"]


class _Checkpointing(TrainerCallback):  # type: ignore[misc]
    """Asks for a checkpoint every so many seconds and at every epoch's end, when its validation has been heard."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_save = time.monotonic() - self.last >= CHECKPOINT_EVERY_S and not _at_epoch_end(state)

    def on_epoch_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        control.should_save = True

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.last = time.monotonic()


def _at_epoch_end(state: TrainerState) -> bool:
    return bool(state.epoch == int(state.epoch))


def _arguments(plan: Plan, *, log_every: int, validates: bool) -> TrainingArguments:
    training = plan.training
    return TrainingArguments(
        output_dir=str(plan.scratch),
        num_train_epochs=training.epochs,
        per_device_train_batch_size=training.batch_size,
        per_device_eval_batch_size=training.batch_size * 2,
        gradient_accumulation_steps=training.accumulate,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.schedule if training.schedule != "constant" else "constant_with_warmup",
        warmup_steps=training.warmup,  # below 1: a share
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        seed=training.seed,
        eval_strategy="epoch" if validates else "no",
        save_strategy="no",
        logging_steps=log_every,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,  # or every column that forward() does not name is dropped
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _not_finite(what: str, trainer: Trainer) -> HeadraceError:
    step, rate = trainer.state.global_step + 1, trainer.args.learning_rate
    return HeadraceError(
        f"{what} at step {step} of {trainer.state.max_steps} with training.learning_rate {rate:g}. "
        "Lower the rate, raise training.warmup, or lower training.max_grad_norm."
    )
