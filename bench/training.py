"""Training throughput beside the stock Trainer (+ peft) script: same model, data, steps, batch and threads, in one run.

Two comparisons: padding to a fixed 128 tokens, and to the longest of a random batch (bench/limit.py has the third).
Each round draws other batches. Ours trains without the base's dropout, which is the recipe's default and a part of the
gain: what is left of it with dropout on stands beside it. Then whole trainings, for the accuracy of both.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
import transformers

from bench import stock
from bench.measure import ratio
from core.schema.data import SplitName
from core.schema.model import Compute, Model, Training
from core.tables.learner import TorchLearner
from core.tables.prepared import read_features, read_rows
from core.weights.determinism import steady
from core.workspace import Job, find_workspace
from pipelines.bases import base_of
from pipelines.place import place_of
from pipelines.tasks import find_task
from pipelines.train.loop import Plan, fit
from tests.conftest import ROOT, Workspace, make_workspace

STEPS = 20
ROUNDS = 3
WARM = 2  # steps at the start that are not timed
METHODS: dict[stock.Method, float] = {"lora": 1e-3, "full": 5e-5}  # and the learning rate of each
PADDINGS: tuple[stock.Padding, ...] = ("fixed", "longest")
STOCK_TOKENS = 128  # what the example of transformers pads to
STOCK_DROPOUT = 0.1  # what the base's configuration says


def main() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        short = {method: prepared_rows(Path(folder) / method, method, "rotten_tomatoes") for method in METHODS}
        for method, workspace in short.items():
            _throughput(workspace, method)
        for method, workspace in short.items():
            _accuracy(workspace, method)


def prepared_rows(folder: Path, method: stock.Method, reviews: str) -> Workspace:
    """The default recipe with another method, or on the long reviews, up to `preprocess`."""
    workspace = make_workspace(folder)
    recipe = (ROOT / "recipes/film-reviews.yaml").read_text()
    recipe = recipe.replace("source: rotten_tomatoes", f"source: {reviews}").replace(
        "max_value: 5000", "max_value: 99999"
    )
    if method != "lora":
        recipe = recipe.replace("method: lora ", f"method: {method} ").replace("  lora: {rank: 8, alpha: 16}\n", "")
        recipe = recipe.replace("learning_rate: 1.0e-3", f"learning_rate: {METHODS[method]}")
    workspace.write("recipes/film-reviews.yaml", recipe)
    workspace.live(recipes={"film-reviews": {"task": "text_classification", "watch": "recipes/film-reviews.lock"}})
    _must(workspace.headrace("lock"))
    _must(workspace.dvc("repro", "preprocess@film-reviews", timeout=900))
    return workspace


def _must(done: object) -> None:
    if getattr(done, "returncode", 1):
        raise SystemExit(f"{done}")


def job_of(workspace: Workspace) -> Job:
    return find_workspace(workspace.root).job("recipe", "film-reviews")


def ours(job: Job, steps: int, *, seed: int, rows: int | None = None, dropout: float | None = None) -> float:
    """Examples a second of our own training loop, the first steps left out. dropout: in the base."""
    task, at = find_task("text_classification"), place_of(job, seed=seed)
    prepared, model = job.folder / "prepared", job.section("model", Model)
    if dropout is not None:
        model = model.model_copy(update={"dropout": dropout})
    steady(threads=job.section("compute", Compute).threads)
    learner = task.learner(model, at)
    assert isinstance(learner, TorchLearner)
    table = read_features(prepared, "train")
    table = table if rows is None else table.slice(0, rows)
    training = job.section("training", Training)
    epochs = steps * training.batch_size / table.num_rows
    training = training.model_copy(update={"epochs": epochs, "seed": seed})
    ends: list[float] = []
    fit(
        learner, table, table.slice(0, 0), Plan(training), listen=lambda step, metrics: ends.append(time.perf_counter())
    )
    return training.batch_size * (steps - 1 - WARM) / (ends[steps - 1] - ends[WARM])


def _rows(job: Job, split: SplitName) -> pd.DataFrame:
    rows = read_rows(job.folder / "prepared", split)
    return pd.DataFrame({"text": rows["text"], "label": rows["label"].astype("category").cat.codes.astype(int)})


def theirs(
    job: Job,
    method: stock.Method,
    padding: stock.Padding,
    steps: int,
    *,
    seed: int,
    max_tokens: int = STOCK_TOKENS,
    rows: int | None = None,
) -> float:
    torch.set_num_threads(job.section("compute", Compute).threads)
    folder = base_of(job).folder
    assert folder is not None
    train = _rows(job, "train")
    return stock.train(
        train if rows is None else train.head(rows),
        base=folder, method=method, padding=padding, max_tokens=max_tokens, batch_size=32,
        learning_rate=METHODS[method], steps=steps, seed=seed,
    )[0]  # fmt: skip


def _throughput(workspace: Workspace, method: stock.Method) -> None:
    job = job_of(workspace)
    figures: dict[str, list[float]] = {"ours": [], "ours with dropout": [], "fixed": [], "longest": []}
    for seed in range(ROUNDS):
        figures["ours"].append(ours(job, STEPS, seed=seed))
        for padding in PADDINGS:
            figures[padding].append(theirs(job, method, padding, STEPS, seed=seed))
        figures["ours with dropout"].append(ours(job, STEPS, seed=seed, dropout=STOCK_DROPOUT))
    for padding, what in (
        ("fixed", f"padded to {STOCK_TOKENS}"),
        ("longest", "padded to the longest of a random batch"),
    ):
        print(
            f"{method}: {mean(figures['ours']):.1f} examples/s; stock, {what}: {mean(figures[padding]):.1f}; "
            f"ratio {ratio(figures['ours'], figures[padding])}, "
            f"with its dropout in ours too {ratio(figures['ours with dropout'], figures[padding])}",
            flush=True,
        )


def _accuracy(workspace: Workspace, method: stock.Method) -> None:
    _must(workspace.dvc("repro", "evaluate@film-reviews", timeout=3600))
    job = job_of(workspace)
    ours = json.loads((job.folder / "evaluation/report.json").read_text())["model"]["accuracy"]
    folder = base_of(job).folder
    assert folder is not None
    train = _rows(job, "train")
    epochs = job.section("training", Training).epochs
    _, theirs = stock.train(
        train, base=folder, method=method, padding="longest", max_tokens=STOCK_TOKENS, batch_size=32,
        learning_rate=METHODS[method], steps=round(epochs * len(train) / 32), seed=7, test=_rows(job, "test"),
    )  # fmt: skip
    print(
        f"{method}: accuracy {ours['value']:.3f} [{ours['low']:.3f}, {ours['high']:.3f}]; stock {theirs:.3f}",
        flush=True,
    )


def mean(figures: list[float]) -> float:
    return sum(figures) / len(figures)
