"""A module and encoded rows -> the trained module and the history of training, through Hugging Face's Trainer.

Equal inputs, seed and thread count give equal weights. Imports torch and transformers at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from pipelines.contract import ROW_ID
from pipelines.errors import HeadraceError
from pipelines.progress import Progress
from pipelines.schema.model import Training

LENGTH = "length"  # a column of encoded rows: batches are made of rows of like length
_SORTED_BATCHES = 50  # rows of so many batches are sorted together: enough for little padding, few enough for chance
_LOGS = 100  # lines of the history beside the epochs' ends
_WALL_TIME = ("_runtime", "_per_second", "total_flos")  # differ from run to run: no part of the history

Row = dict[str, Any]
Listener = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Plan:
    """How to train. measure: what a pass over the validation rows says beside its loss."""

    training: Training
    collate: Callable[[list[Row]], dict[str, Tensor]]
    measure: Callable[[Any, Any], Mapping[str, float]]
    scratch: Path


class EncodedRows(Dataset[Row]):
    """Rows of an Arrow table, read a batch at a time; list columns as numpy arrays."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table.drop_columns([name for name in (ROW_ID, LENGTH) if name in table.column_names])
        self.lengths = table[LENGTH].to_pylist() if LENGTH in table.column_names else None

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, row: int) -> Row:
        return self.__getitems__([row])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[Row]:
        """Several rows at once, as torch's loader asks for them."""
        part = self.table.take(pa.array(rows, pa.int64())).combine_chunks()
        columns = {name: _values(part[name].combine_chunks()) for name in part.column_names}
        return [{name: values[at] for name, values in columns.items()} for at in range(len(rows))]


def fit(
    module: nn.Module,
    train: pa.Table,
    validation: pa.Table,
    plan: Plan,
    *,
    listen: Listener = lambda step, metrics: None,
) -> list[dict[str, float]]:
    """Train the module in place. Returns the metrics by step; `listen` hears them as they come.

    With `patience`, ends after so many epochs without a better validation loss, and the best epoch's weights stand.
    Raises HeadraceError when the loss is no number.
    """
    updates = math.ceil(math.ceil(train.num_rows / plan.training.batch_size) / plan.training.accumulate)
    steps = max(1, math.ceil(updates * plan.training.epochs))
    with Progress("train", total=steps, unit="steps") as progress:
        history = _History(listen, progress)
        callbacks: list[TrainerCallback] = [history]
        if plan.training.patience is not None and validation.num_rows:
            callbacks.append(_Best(plan.training.patience))
        trainer = _Trainer(
            model=module,
            args=_arguments(plan, log_every=max(1, steps // _LOGS), validates=validation.num_rows > 0),
            data_collator=plan.collate,
            train_dataset=EncodedRows(train),
            eval_dataset=EncodedRows(_by_length(validation)) if validation.num_rows else None,
            compute_metrics=lambda seen: dict(plan.measure(seen.predictions, seen.label_ids)),
            callbacks=callbacks,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    _require_finite(module, trainer)
    return history.lines


class _Trainer(Trainer):  # type: ignore[misc]
    """Batches of like length where the rows say how long they are; a loss that is no number ends the training."""

    def _get_train_sampler(self, train_dataset: EncodedRows | None = None) -> Any:
        rows = self.train_dataset if train_dataset is None else train_dataset
        if rows.lengths is None:
            return super()._get_train_sampler(rows)
        return _LikeLengths(rows.lengths, self.args.train_batch_size * self.args.gradient_accumulation_steps)

    def training_step(self, *arguments: Any, **options: Any) -> Tensor:
        loss: Tensor = super().training_step(*arguments, **options)
        if not torch.isfinite(loss):
            raise _not_finite(f"the loss is {loss.item()}", self)
        return loss


class _LikeLengths(Sampler[int]):
    """Rows in an order whose consecutive batches hold rows of like length, the batches themselves in random order.

    transformers' LengthGroupedSampler runs from long to short again and again: where length says something about the
    label, a model from scratch swings with it (film reviews: validation accuracy .72, .61, .76 after three epochs).
    """

    def __init__(self, lengths: Sequence[int], batch: int) -> None:
        self.lengths, self.batch = torch.tensor(lengths), batch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        batches: list[Tensor] = []
        for rows in torch.split(torch.randperm(len(self.lengths)), self.batch * _SORTED_BATCHES):
            ordered = rows[self.lengths[rows].argsort(descending=True, stable=True)]
            batches.extend(torch.split(ordered, self.batch))
        whole = len(self.lengths) // self.batch  # an incomplete batch stays last, or it would shift those behind it
        order = [*torch.randperm(whole).tolist(), *range(whole, len(batches))]
        return iter(torch.cat([batches[at] for at in order]).tolist())


class _History(TrainerCallback):  # type: ignore[misc]
    """Keeps what the Trainer logs, as far as it is the same in every run, and passes it on."""

    def __init__(self, listen: Listener, progress: Progress) -> None:
        self.listen, self.progress = listen, progress
        self.lines: list[dict[str, float]] = []
        self.loss = math.nan

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.progress.advance(1, loss=round(self.loss, 4))

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float], **_: Any
    ) -> None:
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

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: nn.Module,
        metrics: dict[str, float],
        **_: Any,
    ) -> None:
        if metrics["eval_loss"] < self.lowest:
            self.lowest, self.waited = metrics["eval_loss"], 0
            self.weights = {name: value.detach().clone() for name, value in _learnt(model).items()}
        else:
            self.waited += 1
            control.should_training_stop = self.waited >= self.patience

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, *, model: nn.Module, **_: Any
    ) -> None:
        with torch.no_grad():
            for name, value in _learnt(model).items():
                if name in self.weights:
                    value.copy_(self.weights[name])


def _learnt(module: nn.Module) -> dict[str, Tensor]:
    """What training changes: trainable parameters, and buffers such as a batch norm's means."""
    return {**{name: p for name, p in module.named_parameters() if p.requires_grad}, **dict(module.named_buffers())}


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


def _by_length(table: pa.Table) -> pa.Table:
    return table.sort_by(LENGTH) if LENGTH in table.column_names else table


def _values(column: pa.Array) -> Sequence[Any]:
    """One value a row: numbers as they are, lists as numpy arrays."""
    if pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size
        return list(column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width))
    if pa.types.is_list(column.type):
        ends = np.cumsum(column.value_lengths())
        return np.split(column.flatten().to_numpy(zero_copy_only=False), ends[:-1])
    values: list[Any] = column.to_pylist()
    return values


def _require_finite(module: nn.Module, trainer: Trainer) -> None:
    """The last update is followed by no loss, so the weights themselves are looked at."""
    for name, value in module.named_parameters():
        if not bool(torch.isfinite(value).all()):
            raise _not_finite(f"the weights {name} are no numbers", trainer)


def _not_finite(what: str, trainer: Trainer) -> HeadraceError:
    step, rate = trainer.state.global_step + 1, trainer.args.learning_rate
    return HeadraceError(
        f"{what} at step {step} of {trainer.state.max_steps} with training.learning_rate {rate:g}. "
        "Lower the rate, raise training.warmup, or lower training.max_grad_norm."
    )
