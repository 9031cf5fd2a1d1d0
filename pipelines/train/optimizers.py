"""The optimizers of a training, one for each of the learner's turns. Imports torch at once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import get_scheduler

from core.schema.model import Training
from core.tables.learner import Turn
from pipelines.train.training_state import optimizer_parts, restore_optimizer

_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
_UNDECAYED = re.compile(r"bias|layernorm|rmsnorm|(?:^|\.|_)norm(?:$|\.)")  # names, as transformers' Trainer has it


class TurnOptimizer:
    """One turn's parameters, their optimizer (AdamW) and the schedule of its rate."""

    def __init__(
        self, turn: Turn, module: nn.Module, accelerator: Accelerator, training: Training, *, steps: int
    ) -> None:
        """module: as it is saved, not compiled. steps: updates of the whole training."""
        self.turn, self.accelerator, self.max_norm = turn, accelerator, training.max_grad_norm
        self.parameters = [parameter for parameter in turn.parameters(module) if parameter.requires_grad]
        rate = training.learning_rate * turn.rate
        groups = decay_groups(module, self.parameters, training.weight_decay)
        self.l1, self.weights = training.l1, groups[0]["params"]
        optimizer = torch.optim.AdamW(groups, lr=rate, betas=turn.betas, eps=1e-8, fused=True)
        self.optimizer: Any = accelerator.prepare_optimizer(optimizer)
        self.schedule = get_scheduler(
            _SCHEDULES[training.schedule],
            optimizer=self.optimizer,
            num_warmup_steps=math.ceil(steps * training.warmup),
            num_training_steps=steps,
        )

    def gradients(self, module: nn.Module, batches: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Add up the gradients of the batches' mean loss, in this turn's parameters only. Returns that loss."""
        losses = []
        for batch in batches:
            with self.accelerator.autocast():
                loss = self.turn.loss(module, batch) / len(batches)
            self.accelerator.backward(loss, inputs=self.parameters)
            losses.append(loss.detach().float())
        return torch.stack(losses).sum()

    def step(self) -> dict[str, float | Tensor]:
        """Add the L1 penalty, clip, move the parameters, forget the gradients. Returns what the history says of it."""
        self.accelerator.unscale_gradients(self.optimizer)
        if self.l1:
            for weight in self.weights:
                if weight.grad is not None:
                    weight.grad.add_(weight.detach().sign(), alpha=self.l1)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.max_norm)
        self.optimizer.step()
        rate = self.schedule.get_last_lr()[0]
        if not self.optimizer.step_was_skipped:  # with fp16, when a gradient was too large for it
            self.schedule.step()
        self.optimizer.zero_grad()
        return {"grad_norm": norm, "learning_rate": rate}

    def parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The state of optimizer and schedule, as tensors and JSON."""
        tensors, rest = optimizer_parts(self.optimizer)
        return tensors, {"optimizer": rest, "schedule": self.schedule.state_dict()}

    def restore(self, tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
        restore_optimizer(self.optimizer, tensors, rest["optimizer"])
        self.schedule.load_state_dict(rest["schedule"])


def decay_groups(module: nn.Module, parameters: Sequence[nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """Two groups, in the module's order: weights, which decay, and biases and norms, which do not."""
    chosen = {id(parameter) for parameter in parameters}
    norms = {name for name, part in module.named_modules() if isinstance(part, nn.LayerNorm)}
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if id(parameter) in chosen:
            undecayed = name.rpartition(".")[0] in norms or _UNDECAYED.search(name.lower())
            (kept if undecayed else decayed).append(parameter)
    return [{"params": decayed, "weight_decay": decay}, {"params": kept, "weight_decay": 0.0}]
