"""A training begun as the stage `train` begins it, and ended after some steps: what they took. Imports torch at once.

The batches are the loop's own, some of every length, the longest first. What is told as it comes: parameters, seconds,
bytes, under the names of Told.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from core.process.memory import file_bytes, forget_peak, peak_bytes
from core.schema.model import Model, Training
from core.tables.learner import Learner, TorchLearner, trainable
from core.tables.prepared import read_features
from core.tables.task import Place, Task
from pipelines.planning.apart import Tell
from pipelines.train.batches import EncodedRows, by_length
from pipelines.train.checkpoints import Checkpoints
from pipelines.train.headroom import weights_bytes
from pipelines.train.loop import Loop, Plan

STEPS_S, MOST_STEPS, LEAST_STEPS = 6.0, 24, 5  # timed updates of the weights: for so long, but at least and at most
FEATURES_S = 4.0  # for what is trained on, made of the encoded rows
FIT_S = 6.0  # for a learner that fits itself, on samples that grow
_FIRST_ROWS, _GROWTH = 64, 8  # of a growing sample
_FIRST_FIT = 256
_WATCHED, _WATCHED_BATCHES = 256, 8  # validation rows at least; and of the training's size


@dataclasses.dataclass(frozen=True)
class Trial:
    """What is tried. scratch: an empty folder; prepared: the rows, in the folder that preprocess fills.

    libraries_bytes: of files that the process has in memory which this one was forked of. most_bytes: it may take.
    """

    task: Task
    model: Model
    training: Training
    at: Place
    prepared: Path
    scratch: Path
    libraries_bytes: int = 0
    most_bytes: int = sys.maxsize

    def peak_bytes(self) -> int:
        """The most memory so far, as if this process had loaded its libraries itself."""
        return peak_bytes() + max(0, self.libraries_bytes - file_bytes())


def tried(trial: Trial, tell: Tell) -> None:
    """Begin the training and tell what it takes."""
    forget_peak()
    weights = weights_bytes(trial.task, trial.model, trial.at) or 0
    if weights > trial.most_bytes:
        tell({"weights_bytes": weights})
        return
    start = time.perf_counter()
    learner = trial.task.learner(trial.model, trial.at)
    tell({"build_s": time.perf_counter() - start, "built_bytes": trial.peak_bytes()})
    train, validation = read_features(trial.prepared, "train"), read_features(trial.prepared, "validation")
    tell({"rows": train.num_rows, "validation_rows": validation.num_rows})
    if isinstance(learner, TorchLearner):
        moved = sum(each.numel() for each in trainable(learner.module))
        tell({"parameters": sum(each.numel() for each in learner.module.parameters()), "trainable": moved})
        _steps(trial, learner, train, validation, tell)
    else:
        tell({"fits_itself": True})
        _fits(trial, learner, train, validation, tell)
    _saved(trial, learner, tell)
    tell({"peak_bytes": trial.peak_bytes(), **_gpu()})


def _steps(trial: Trial, learner: TorchLearner, train: pa.Table, validation: pa.Table, tell: Tell) -> None:
    made, featured = _features(learner, train, trial.training.batch_size * trial.training.accumulate)
    tell(featured)
    drawn: list[float] = []  # seconds of each sample
    own = learner.sample

    def sample(module: torch.nn.Module) -> torch.Tensor:
        start = time.perf_counter()
        assert own is not None
        found = own(module)
        drawn.append(time.perf_counter() - start)
        return found

    learner = dataclasses.replace(learner, sample=sample if own is not None else None, samples={})
    loop = Loop(learner, EncodedRows(made), Plan(trial.training, Checkpoints(trial.scratch / "checkpoints")), _nobody)
    loop.module.train()
    batches = _batches(loop)
    longest = batches[-1][: trial.training.batch_size]
    took: list[tuple[int, int]] = []  # rows of a batch, and the peak of memory up to then
    for part in (16, 8, 4, 2, 1):
        rows = max(1, len(longest) // part)
        if not took:
            _update(loop, longest[:rows])  # makes the optimizer's state, which stands beside all later gradients
        _update(loop, longest[:rows])
        took.append((rows, trial.peak_bytes()))
        tell({"took": took, **_gpu()})
    seconds: list[float] = []
    spread = _spread(len(batches))
    cpu, end = time.process_time(), time.perf_counter() + STEPS_S
    while len(seconds) < LEAST_STEPS or (time.perf_counter() < end and len(seconds) < MOST_STEPS):
        seconds.append(_update(loop, batches[spread[len(seconds) % len(spread)]]))
        tell({"steps_s": seconds, **_gpu()})
    tell({"step_cpu_s": (time.process_time() - cpu) / len(seconds)})
    last = math.ceil(trial.training.epochs) - 1  # after which the module is always sampled
    watched = _watched(learner, validation, trial.training.batch_size)
    start = time.perf_counter()
    loop.watch(watched[0], last, 1.0)
    tell({"watch_s": time.perf_counter() - start - sum(drawn), "watched_rows": watched[1]})
    start = time.perf_counter()
    loop.save(within_epoch=True)
    size_of = sum(path.stat().st_size for path in (trial.scratch / "checkpoints").rglob("*") if path.is_file())
    tell({"drawn_s": sum(drawn), "checkpoint_s": time.perf_counter() - start, "checkpoint_bytes": size_of})


def _features(learner: TorchLearner, train: pa.Table, least: int) -> tuple[pa.Table, dict[str, Any]]:
    """What is trained on, and what it took: of all rows, or of as many as the time allows, if `least` come of them.

    The rows of a series lie in any order, so that some of them are no run of steps: then all are taken.
    """
    parts: list[pa.Table] = []
    done, size, end = 0, _FIRST_ROWS, time.perf_counter() + FEATURES_S
    while done < train.num_rows:
        start, before = time.perf_counter(), peak_bytes()
        rows = train.slice(done, size)
        parts.append(learner.features(rows))
        seconds, grown = time.perf_counter() - start, peak_bytes() - before
        done, size = done + rows.num_rows, size * _GROWTH
        if seconds * train.num_rows / rows.num_rows < FEATURES_S:
            break  # all of them, then
        if sum(part.num_rows for part in parts) >= least and time.perf_counter() + seconds * _GROWTH > end:
            left = (train.num_rows - done) / rows.num_rows  # in samples like the last
            return pa.concat_tables(parts), {
                "features_s": seconds * train.num_rows / rows.num_rows,
                "features_bytes": left * grown if len(parts) > 1 else 0.0,  # the first took what it takes once
                "trained_rows": round(parts[-1].num_rows / rows.num_rows * train.num_rows),
            }
    start = time.perf_counter()
    made = learner.features(train)
    taken_s = time.perf_counter() - start
    return made, {"features_s": taken_s, "features_bytes": 0.0, "trained_rows": made.num_rows}


def _watched(learner: TorchLearner, validation: pa.Table, batch_size: int) -> tuple[EncodedRows | None, int]:
    """Some validation rows, or all where a few make nothing to validate on, and how many they are."""
    for part in (validation.slice(0, max(_WATCHED, _WATCHED_BATCHES * batch_size)), validation):
        if part.num_rows and (found := by_length(learner.features(part))).num_rows:
            return EncodedRows(found), part.num_rows
    return None, 0


def _batches(loop: Loop) -> list[list[int]]:
    """The rows of each whole update of an epoch, those of the longest rows last."""
    order, size = list(iter(loop.state.order)), loop.training.batch_size * loop.training.accumulate
    found = [order[at : at + size] for at in range(0, len(order), size)]
    whole = [rows for rows in found if len(rows) == size] or found
    lengths = loop.rows.lengths
    return whole if lengths is None else sorted(whole, key=lambda rows: max(lengths[row] for row in rows))


def _spread(count: int) -> list[int]:
    """The numbers below count, any first few of which lie evenly, from the middle on: van der Corput's sequence."""
    found: dict[int, None] = {}
    bits = count.bit_length() + 1
    for at in range(1, 1 << bits):
        found[int(f"{at:0{bits}b}"[::-1], 2) * count >> bits] = None
    return list(found)


def _update(loop: Loop, rows: Sequence[int]) -> float:
    """Seconds of an update of the weights, the making of its batches included."""
    start, size = time.perf_counter(), loop.training.batch_size
    parts = [rows[at : at + size] for at in range(0, len(rows), size)]
    loop.update([loop.here(loop.learner.collate(loop.rows.__getitems__(part))) for part in parts])
    loop.step += 1
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _fits(trial: Trial, learner: Learner, train: pa.Table, validation: pa.Table, tell: Tell) -> None:
    """Fit on samples that grow, up to all rows or the end of the time."""
    tried: list[list[float]] = []  # rows, seconds, bytes
    size, end = min(_FIRST_FIT, train.num_rows), time.perf_counter() + FIT_S
    while True:
        if tried:
            learner = trial.task.learner(trial.model, trial.at)  # type: ignore[assignment]
        start = time.perf_counter()
        learner.fit(train.slice(0, size), validation.slice(0, max(1, validation.num_rows * size // train.num_rows)))
        tried.append([size, time.perf_counter() - start, trial.peak_bytes()])
        tell({"fits": tried})
        if size >= train.num_rows or time.perf_counter() + tried[-1][1] * _GROWTH > end:
            break
        size = min(size * _GROWTH, train.num_rows)


def _saved(trial: Trial, learner: Learner | TorchLearner, tell: Tell) -> None:
    into, base = trial.scratch / "model", trial.scratch / "base"
    for folder in (into, base):
        folder.mkdir()
    start = time.perf_counter()
    trial.task.save(learner, trial.at, into=into, base=base)
    size = sum(path.stat().st_size for path in into.rglob("*") if path.is_file())
    tell({"save_s": time.perf_counter() - start, "model_bytes": size})


def _gpu() -> dict[str, Any]:
    """Of the GPU that is used: its name, its bytes, those that are free, those that this training holds at most."""
    if not torch.cuda.is_available():
        return {}
    free, total = torch.cuda.mem_get_info()
    held = torch.cuda.memory_reserved()
    peak = torch.cuda.max_memory_reserved()
    return {"gpu": {"name": torch.cuda.get_device_name(), "bytes": total, "free": free + held, "peak_bytes": peak}}


_nobody: Callable[..., None] = lambda step, metrics: None  # noqa: E731
