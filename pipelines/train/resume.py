"""All that changes while a training goes on, to and from a checkpoint. Imports torch at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn

from pipelines.train import training_state
from pipelines.train.average import Average
from pipelines.train.batches import AnyOrder, LikeLengths
from pipelines.train.checkpoints import Checkpoint
from pipelines.train.history import Best, Lines
from pipelines.train.optimizers import TurnOptimizer


@dataclass(frozen=True)
class State:
    """What a training is made of beside its data. module: as it is saved, not compiled."""

    module: nn.Module
    accelerator: Accelerator
    optimizers: Sequence[TurnOptimizer]
    lines: Lines
    order: AnyOrder | LikeLengths
    average: Average | None
    best: Best | None
    samples: dict[int, Tensor]


def kept(state: State, step: int, *, within_epoch: bool) -> Checkpoint:
    """The checkpoint after update `step`. within_epoch: more updates of the same epoch follow."""
    generators, generators_rest = training_state.random_parts()
    if within_epoch and isinstance(state.order, LikeLengths) and state.order.drawn_from is not None:
        generators["order"] = state.order.drawn_from
    parts = [optimizer.parts() for optimizer in state.optimizers]
    optimizers = {f"{turn}.{name}": value for turn, (part, _) in enumerate(parts) for name, value in part.items()}
    tensors = {"weights": training_state.learnt(state.module), "optimizer": optimizers, "random": generators}
    if state.average is not None:
        tensors["average"] = state.average.weights
    if state.best is not None:
        tensors["best"] = state.best.weights
    if state.samples:
        tensors["samples"] = {str(at): sample for at, sample in state.samples.items()}
    scaler = state.accelerator.scaler
    rest: dict[str, Any] = {
        "turns": [rest for _, rest in parts],
        "random": generators_rest,
        "history": state.lines.as_json(),
        "best": state.best.as_json() if state.best else None,
        "scaler": scaler.state_dict() if scaler is not None else None,
    }
    return Checkpoint(step, tensors, rest)


def put_back(state: State, checkpoint: Checkpoint) -> None:
    """Make the state what `kept` saw."""
    tensors, rest = checkpoint.tensors, checkpoint.state
    training_state.put_back(state.module, tensors["weights"])
    for turn, (optimizer, of_turn) in enumerate(zip(state.optimizers, rest["turns"], strict=True)):
        optimizer.restore(_below(tensors["optimizer"], f"{turn}."), of_turn)
    if state.average is not None:
        state.average.restore(tensors["average"])
    if state.best is not None:
        state.best.restore(rest["best"], tensors.get("best", {}))
    state.samples.update({int(at): sample for at, sample in tensors.get("samples", {}).items()})
    if state.accelerator.scaler is not None:
        state.accelerator.scaler.load_state_dict(rest["scaler"])
    if isinstance(state.order, LikeLengths):
        state.order.replay = tensors["random"].get("order")
    state.lines.restore(rest["history"], state.accelerator.device)
    training_state.restore_random(tensors["random"], rest["random"])


def _below(tensors: Any, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
