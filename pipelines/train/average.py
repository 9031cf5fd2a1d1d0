"""The moving average of the weights during a training. Imports torch at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipelines.train.training_state import learnt


class Average:
    """An exponential moving average of what training changes: parameters, and buffers that hold floats.

    After update t it moves by 1 - d towards the weights, with d = min(decay, (1 + t) / (10 + t)): so short trainings,
    and the start of long ones, do not stay at the first weights. Buffers that count are taken as they are.
    Source of this warm-up: the argument num_updates of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.weights = {name: value.detach().clone() for name, value in learnt(module).items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the module's weights after update `step`, which counts from 1."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in learnt(self.module).items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, share)
            else:
                self.weights[name].copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module holds the average inside, and its own weights again behind it."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    @torch.no_grad()
    def exchange(self) -> None:
        """The module's weights and the average change places."""
        for name, value in learnt(self.module).items():
            own = value.clone()
            value.copy_(self.weights[name])
            self.weights[name].copy_(own)

    @torch.no_grad()
    def restore(self, weights: Mapping[str, Tensor]) -> None:
        for name, value in self.weights.items():
            value.copy_(weights[name])
