"""evaluate: model/ + the test split -> evaluation/: predictions a row, metrics, a report with intervals, plots.

Test rows go in as raw content through the same Predictor that serves, so what is measured is what is deployed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.atomic_files import replacing, write_json, write_text
from core.errors import BadRequest
from core.manifest import require_whole, write_manifest
from core.schema.columns import ROW_ID, Contract, meant
from core.schema.evaluation import Evaluation
from core.schema.model import Compute
from core.tables.keys import label_name
from core.tables.predictions import Answered, write_predictions
from core.tables.prepared import REPLACED, read_rows
from core.tables.statistics import Sampled, sample
from core.tables.task import ByLabel, Place, Predictions, Predictor, Task, as_sent
from core.weights.determinism import steady
from core.workspace import Job
from pipelines.evaluate.report import Findings, markdown, summary
from pipelines.evidence.by_label import OfLabel, by_label
from pipelines.evidence.row_counts import row_counts
from pipelines.place import place_of
from pipelines.tasks import find_task
from registry.promotion.measured import METRICS, REPORT

MODEL = "model"  # its name beside the baselines'
_MANY_SLICES = 50  # values of one column; the rarer ones are left out
_MISSING = "(missing)"  # the slice of rows that have no value
_TIMED_ROWS, _TIMED_ROUNDS = 32, 2
_BYTES_A_MB = 1e6


def run(job: Job) -> None:
    """Measure a recipe's model on its test split."""
    prepared, model = job.folder / "prepared", job.folder / "model"
    examples = job.section("examples", Contract)
    for folder in (prepared, model):
        require_whole(folder)
    if examples.media:
        require_whole(job.folder / "raw")
    task, evaluation = find_task(job.settings["task"]), job.section("evaluation", Evaluation)
    steady(threads=job.section("compute", Compute).threads)
    at = place_of(job, seed=evaluation.seed)
    train, units = read_rows(prepared, "train"), task.units(read_rows(prepared, "test"), at.folder)
    columns = _slice_columns(units, evaluation.slices, examples, job)
    predictor = task.load(model)
    answered, rate = _answer(task, predictor, train, units, at)
    findings = measure(task, answered, evaluation, columns, task.axes(at.folder))
    with replacing(job.folder / "evaluation") as folder:
        _write_predictions(task, predictor, answered, units, at, folder / "predictions.parquet")
        write_json(folder / METRICS, findings.metrics())
        write_json(folder / REPORT, summary(findings))
        write_text(folder / "report.md", markdown(findings, job.name) + _rows_section(job.folder))
        write_json(folder / "serving.json", _serving(predictor, as_sent(units, examples), at.media, model, rate))
        (folder / "plots").mkdir()
        task.plots({**answered.model, **answered.truth}, folder=folder / "plots", prepared=at.folder)
        write_manifest(folder, {"rows": len(units), "primary": findings.primary})
    print(findings.first_lines()[0], file=sys.stderr, flush=True)


def measure(
    task: Task,
    answered: Answered,
    evaluation: Evaluation,
    columns: Mapping[str, Sequence[str]],
    axes: Mapping[str, Sequence[str]],
) -> Findings:
    """Every metric of the model and its baselines with its interval, the differences, the model's by slice and label.

    columns: values of each slicing column, one a test row. axes: as the task's axes() has them.
    """
    models = {MODEL: answered.model, **answered.baselines}
    measured = {name: task.measure({**said, **answered.truth}) for name, said in models.items()}
    sampled = _sampled(task, measured, evaluation)
    labels: list[OfLabel] = []
    if isinstance(task, ByLabel):
        names = task.label_names({**answered.model, **answered.truth}, axes)
        labels = by_label(task, measured[MODEL], names, resamples=evaluation.resamples, seed=evaluation.seed)
    return Findings(
        rows=len(answered.row_ids),
        primary=evaluation.primary or task.primary,
        better=task.metrics,
        model=sampled.pop(MODEL),
        baselines=sampled,
        slices={column: _by_slice(task, measured[MODEL], values, evaluation) for column, values in columns.items()},
        labels=labels,
        of_one_label=_of_one_label(task),
        resamples=evaluation.resamples,
        seed=evaluation.seed,
        simple=task.simple,
    )


def _by_slice(
    task: Task, measured: Predictions, values: Sequence[str], evaluation: Evaluation
) -> dict[str, tuple[int, Sampled]]:
    """Value -> how many rows have it, and the model's metrics on them."""
    found = {}
    for value, rows in _slices(values):
        part = {name: array[rows] for name, array in measured.items()}
        found[value] = (len(rows), _sampled(task, {MODEL: part}, evaluation)[MODEL])
    return found


def _of_one_label(task: Task) -> dict[str, Sequence[str]]:
    """The column that holds the true label -> the metrics that mean something on the rows of one of its values."""
    label = task.contract.label
    return {label: task.of_one_label} if isinstance(task, ByLabel) and label is not None else {}


def _sampled(task: Task, measured: Mapping[str, Predictions], evaluation: Evaluation) -> dict[str, Sampled]:
    return sample(measured, task.score, resamples=evaluation.resamples, seed=evaluation.seed)


def _answer(
    task: Task, predictor: Predictor, train: pd.DataFrame, units: pd.DataFrame, at: Place
) -> tuple[Answered, float]:
    """What the model and the baselines say about the units, and how many of them a second the model answers."""
    started = time.perf_counter()
    said = predictor.predict(units, at.media)
    rate = len(units) / (time.perf_counter() - started)
    baselines = task.baselines(train, units, at)
    return Answered(units[ROW_ID].tolist(), task.truth(units, at), said, baselines), rate


def _rows_section(folder: Path) -> str:
    """What became of the source's rows, for the end of report.md."""
    counts = row_counts(folder)
    return "" if counts is None else f"\n## Rows of the source\n\n{counts.line()}.\n"


def _slice_columns(units: pd.DataFrame, names: Sequence[str], contract: Contract, job: Job) -> dict[str, list[str]]:
    taken = [name for name in contract.added if name not in REPLACED]  # the others are the source's own by now
    found = {name: meant(name, units.columns, taken) for name in names}
    for name, column in found.items():
        if column not in units.columns:
            raise BadRequest(
                f"{job.settings_file}: evaluation.slices: the rows have no column {name!r}. "
                f"Allowed: {', '.join(map(str, units.columns))}."
            )
    return {name: [label_name(value) or _MISSING for value in units[column]] for name, column in found.items()}


def _slices(values: Sequence[str]) -> list[tuple[str, np.ndarray[Any, Any]]]:
    """The rows of each value, the most frequent values first where there are too many; in the values' order."""
    names, inverse, counts = np.unique(np.asarray(values, dtype=object), return_inverse=True, return_counts=True)
    kept = sorted(np.argsort(-counts, kind="stable")[:_MANY_SLICES])
    return [(str(names[at]), np.flatnonzero(inverse == at)) for at in kept]


def _write_predictions(
    task: Task, predictor: Predictor, answered: Answered, units: pd.DataFrame, at: Place, file: Path
) -> None:
    label = task.contract.label
    readable = {
        prefix: predictor.answers(said).rename(columns={label: "predicted"})
        for prefix, said in (("", answered.model), *((f"{name}.", b) for name, b in answered.baselines.items()))
    }
    answers = {(str(label) if name == "predicted" else name): name for name in readable[""].columns}
    if label is not None:
        readable[""].insert(0, label, units[label].to_numpy())
    write_predictions(answered, file, axes=task.axes(at.folder), readable=readable, answers=answers)


def _serving(predictor: Predictor, inputs: pd.DataFrame, media: Path, model: Path, rate: float) -> dict[str, float]:
    """What differs from run to run: the time of one row alone, rows a second of all at once, and the size on disk.

    inputs: of the units, as a caller would send them.
    """
    one_by_one = [inputs.iloc[[at]] for at in range(min(_TIMED_ROWS, len(inputs)))] * _TIMED_ROUNDS
    times = []
    for row in one_by_one:
        started = time.perf_counter()
        predictor.predict(row, media)
        times.append(time.perf_counter() - started)
    size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    return {
        "latency_p50_ms": round(float(np.median(times)) * 1000, 3),
        "throughput_rows_per_s": round(rate, 1),
        "size_mb": round(size / _BYTES_A_MB, 1),
    }
