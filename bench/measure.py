"""Ratios with an interval, from pairs measured in alternation: the machine's mood falls on both sides alike."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ratio:
    """The geometric mean of paired ratios and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f}x [{self.low:.2f}, {self.high:.2f}]"


def ratio(ours: Sequence[float], theirs: Sequence[float], *, resamples: int = 2000, seed: int = 7) -> Ratio:
    """How many times `ours` is `theirs`, pair by pair. Raises ValueError without pairs."""
    if not ours or len(ours) != len(theirs):
        raise ValueError(f"pairs are needed, got {len(ours)} and {len(theirs)} figures")
    logs = [math.log(a / b) for a, b in zip(ours, theirs, strict=True)]
    draw = random.Random(seed)
    means = sorted(statistics.fmean(draw.choices(logs, k=len(logs))) for _ in range(resamples))
    low, high = means[int(0.025 * resamples)], means[int(0.975 * resamples) - 1]
    return Ratio(math.exp(statistics.fmean(logs)), math.exp(low), math.exp(high))


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
