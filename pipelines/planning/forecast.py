"""From what a trial took to what the whole training will take. Arithmetic only: nothing is measured here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.schema.model import Training
from core.tables.learner import sampled_after

_CHECKPOINT_EVERY_S = 300.0
_OPTIMIZED = 16  # bytes of a trained parameter: itself, its gradient, AdamW's two means
_ROW_BYTES = 100  # of a row whose length is known: it stands in lists, of the lengths and of the order
_SPREAD = 0.2  # of a machine that others use too
_STEEP = 1.3  # a learner that fits itself may take longer by this power of the rows


@dataclass(frozen=True)
class Forecast:
    """One training of a method. Bytes are the most at one time; seconds are those of the stage `train`.

    seconds: what is likely, with the least and the most. step_s: of an update of the weights,
    step_cpu_s: of all cores together; None of what fits itself.
    peak_bytes: None where not even the smallest batch could be tried; then at_least_bytes says what was reached.
    row_bytes: what one more row of a batch takes; None where that could not be seen.
    """

    method: str
    parameters: int | None
    trainable: int | None
    steps: int | None
    step_s: float | None
    step_cpu_s: float | None
    seconds: tuple[float, float, float] | None
    peak_bytes: int | None
    at_least_bytes: int
    row_bytes: float | None
    batch_size: int
    accumulate: int
    checkpoint_bytes: int | None
    model_bytes: int | None
    gpu: Mapping[str, Any] | None
    fits_itself: bool

    def largest_batch(self, limit: int) -> int | None:
        """How many rows a batch may have at most in so much memory; 0: none fits. None: unknown."""
        if self.peak_bytes is None or not self.row_bytes:
            return None
        without = self.peak_bytes - self.row_bytes * self.batch_size
        return max(0, int((limit - without) / self.row_bytes))


def forecast(method: str, training: Training, told: Mapping[str, Any], *, share: float, most: int | None) -> Forecast:
    """told: by a trial. share: of the rows that the trial had, 0 to 1. most: the bytes at which the trial was ended;
    None where it came to its end.
    """
    rows = told.get("rows", 0) / share
    peak, row_bytes = _memory(method, told, training, rows, share, stopped=most is not None)
    steps = None
    seconds: tuple[float, float, float] | None = None
    step_s = None
    if told.get("fits_itself"):
        seconds = _fits(told, rows)
    elif "trained_rows" in told:
        batches = math.ceil(told["trained_rows"] / share / training.batch_size)
        steps = max(1, math.ceil(math.ceil(batches / training.accumulate) * training.epochs))
        if measured := told.get("steps_s"):
            step_s = sum(measured) / len(measured)
            seconds = _seconds(told, training, steps * step_s, share)
    return Forecast(
        method=method,
        parameters=told.get("parameters", told["weights_bytes"] // 4 if "weights_bytes" in told else None),
        trainable=told.get("trainable"),
        steps=steps,
        step_s=step_s,
        step_cpu_s=told.get("step_cpu_s"),
        seconds=None if most is not None else seconds,
        peak_bytes=peak,
        at_least_bytes=max([most or 0, told.get("built_bytes", 0), *(taken for _, taken in told.get("took", ()))]),
        row_bytes=row_bytes,
        batch_size=training.batch_size,
        accumulate=training.accumulate,
        checkpoint_bytes=told.get("checkpoint_bytes"),
        model_bytes=told.get("model_bytes"),
        gpu=told.get("gpu"),
        fits_itself=bool(told.get("fits_itself")),
    )


def _seconds(
    told: Mapping[str, Any], training: Training, steps_s: float, share: float
) -> tuple[float, float, float] | None:
    """Everything that the stage does once, after every epoch, or every few minutes."""
    epochs = math.ceil(training.epochs)
    watch_s = 0.0
    if watched := told.get("watched_rows"):
        watch_s = told["watch_s"] * told["validation_rows"] / share / watched
    once = told.get("start_s", 0.0) + told["build_s"] + told["features_s"] / share + told.get("save_s", 0.0)
    whole = once + steps_s + epochs * watch_s + len(sampled_after(epochs)) * told.get("drawn_s", 0.0)
    whole += (epochs - 1 + whole // _CHECKPOINT_EVERY_S) * told.get("checkpoint_s", 0.0)
    return whole, whole * (1 - _SPREAD), whole * (1 + _SPREAD)


def _fits(told: Mapping[str, Any], rows: float) -> tuple[float, float, float] | None:
    """From samples that grew, by the power of the rows with which the seconds grew."""
    if not (tried := told.get("fits")):
        return None
    once = told.get("start_s", 0.0) + told["build_s"] + told.get("save_s", 0.0)
    last, seconds, _ = tried[-1]
    power = 1.0
    if len(tried) > 1 and tried[-2][1] > 0.05:
        power = min(2.0, max(1.0, math.log(seconds / tried[-2][1]) / math.log(last / tried[-2][0])))
    more = max(1.0, rows / last)
    likely = once + seconds * more**power
    return likely, (once + seconds * more) * (1 - _SPREAD), (once + seconds * more ** (power * _STEEP)) * (1 + _SPREAD)


def _memory(
    method: str, told: Mapping[str, Any], training: Training, rows: float, share: float, *, stopped: bool
) -> tuple[int | None, float | None]:
    """The most memory at one time, and what a row more in a batch adds to it."""
    if told.get("fits_itself"):
        return _grown([(size, taken) for size, _, taken in told.get("fits", ())], rows, told), None
    if weights := told.get("weights_bytes"):  # too many even to be built
        return weights * (_OPTIMIZED // 4 if method in ("pretrain", "full") else 1), None
    took: Sequence[tuple[int, int]] = [tuple(each) for each in told.get("took", ())]
    a_row = None
    if len(took) > 1 and took[-1][0] > took[-2][0]:
        (few, little), (many, much) = took[-2:]
        a_row = max(0.0, (much - little) / (many - few))
    if "peak_bytes" in told:
        more = told["features_bytes"] / share + _ROW_BYTES * max(0.0, rows - told["rows"])
        return int(told["peak_bytes"] + more), a_row
    if not stopped:
        return None, None
    if took and a_row is not None:
        size = min(training.batch_size, int(told["trained_rows"] / share))
        return int(took[-1][1] + a_row * (size - took[-1][0])), a_row
    return None, None


def _grown(tried: Sequence[tuple[int, int]], rows: float, told: Mapping[str, Any]) -> int | None:
    if not tried:
        return None
    peak = max(tried[-1][1], told.get("peak_bytes", 0))
    if len(tried) < 2:
        return int(peak)
    (few, little), (many, much) = tried[-2:]
    return int(peak + max(0.0, (much - little) / (many - few)) * max(0.0, rows - many))
