"""What a training says while it runs, and the best epoch of it. Imports torch at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from core.progress import Progress
from core.tables.learner import History
from pipelines.train.training_state import learnt, put_back

Listener = Callable[[int, Mapping[str, float]], None]


class Lines:
    """The lines of the history: kept, and passed on as they come. No time stands in them: equal runs have equal lines.

    Losses are added up where they are computed, and read at each line only.
    """

    def __init__(self, listen: Listener, progress: Progress, *, every: int) -> None:
        """every: steps between two lines."""
        self.listen, self.progress, self.every = listen, progress, every
        self.lines: History = []
        self.sums: dict[str, Tensor] = {}  # losses since the last line
        self.since, self.loss = 0, math.nan  # the step of the last line, and its loss

    def stepped(
        self, step: int, epoch: float, losses: Mapping[str, Tensor], last: Mapping[str, float | Tensor]
    ) -> None:
        """Called after each update with its losses; `last` stands in a line as it is."""
        for name, loss in losses.items():
            self.sums[name] = self.sums[name] + loss if name in self.sums else loss
        self.progress.advance(1, loss=round(self.loss, 4))
        if step % self.every == 0:
            means = {name: total.item() / (step - self.since) for name, total in self.sums.items()}
            numbers = {name: float(value) for name, value in last.items()}
            self.sums, self.since, self.loss = {}, step, means["loss"]
            self.add(step, epoch, means | {name: value for name, value in numbers.items() if math.isfinite(value)})

    def add(self, step: int, epoch: float, metrics: Mapping[str, float]) -> None:
        line = {**metrics, "epoch": epoch}
        self.lines.append({"step": step, **line})
        self.listen(step, line)

    def as_json(self) -> dict[str, Any]:
        sums = {name: total.item() for name, total in self.sums.items()}
        loss = None if math.isnan(self.loss) else self.loss
        return {"lines": self.lines, "sums": sums, "since": self.since, "loss": loss}

    def restore(self, before: Mapping[str, Any], device: torch.device) -> None:
        """Go on behind these lines, and say them again: whoever listens may have missed the last of them."""
        self.lines, self.since = list(before["lines"]), before["since"]
        self.loss = math.nan if before["loss"] is None else before["loss"]
        self.sums = {name: torch.tensor(total, device=device) for name, total in before["sums"].items()}
        for line in self.lines:
            self.listen(int(line["step"]), {name: value for name, value in line.items() if name != "step"})


class Best:
    """Early stopping: keeps the trained weights of the best epoch in memory, to be put back at the end."""

    def __init__(self, module: nn.Module, patience: int) -> None:
        self.module, self.patience = module, patience
        self.waited, self.lowest = 0, math.inf
        self.weights: dict[str, Tensor] = {}

    def is_over(self, loss: float) -> bool:
        """Hear of an epoch's validation loss while the module holds its weights. True: enough epochs were no better."""
        if loss < self.lowest:
            self.lowest, self.waited = loss, 0
            self.weights = {name: value.detach().clone() for name, value in learnt(self.module).items()}
        else:
            self.waited += 1
        return self.waited >= self.patience

    def put_back(self) -> None:
        if self.weights:
            put_back(self.module, self.weights)

    def as_json(self) -> dict[str, Any]:
        return {"waited": self.waited, "lowest": None if math.isinf(self.lowest) else self.lowest}

    def restore(self, before: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        self.waited, self.weights = before["waited"], dict(weights)
        self.lowest = math.inf if before["lowest"] is None else before["lowest"]
