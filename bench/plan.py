"""What `headrace plan` predicts beside what the stage `train` then takes: seconds a step and the peak of memory.

Each recipe in turn, predicted and measured in alternation, so that the machine's mood falls on both. The measured
training is the stage itself, with its run on MLflow's page and its model saved, ended after some steps.
`python -m bench.plan --only etth1 --downloads FOLDER`: FOLDER holds files of published addresses, under any name.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from bench.example_data import EXAMPLES, missing, place_downloads
from core.atomic_files import write_json
from core.process.memory import peak_bytes
from core.schema.model import Model, Training
from core.workspace import Job, find_workspace, sealed
from flows.planning.plan_training import measure
from pipelines.recipes.read import read_recipe
from tests.conftest import ROOT, Workspace, make_workspace

ROUNDS = 2
WARM = 2  # steps at the start that are not timed
STEPS = 40  # of a measured training at most
STEP_BOUND, MEMORY_BOUND = 0.30, 0.25  # what issue 21 promises
_LINE = "{:<24}{:>8}{:>11}{:>10}{:>7}{:>8}{:>15}{:>10}{:>7}"
_DEFAULT = ROOT / "recipes" / "film-reviews.yaml"


def main(arguments: Sequence[str] = ()) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="an example's name")
    parser.add_argument("--downloads", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args(arguments)
    recipes = [file for file in (_DEFAULT, *EXAMPLES) if asked.only is None or file.stem in asked.only]
    off = []
    print(
        _LINE.format(
            "recipe", "step, s:", "predicted", "measured", "ratio", "of CPU", "MB: predicted", "measured", "ratio"
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        for recipe in recipes:
            workspace = make_workspace(Path(folder) / recipe.stem)
            place_downloads(read_recipe(recipe).data, find_workspace(workspace.root), asked.downloads)
            if why := missing(recipe, find_workspace(workspace.root)):
                print(f"{recipe.stem:<24} left out: {why}", flush=True)
                continue
            job = _prepared(workspace, recipe)
            found = [_pair(job) for _ in range(asked.rounds)]
            off += _told(recipe.stem, found)
    print(f"outside of {STEP_BOUND:.0%} (step) or {MEMORY_BOUND:.0%} (memory): {', '.join(off) or 'none'}", flush=True)


def _prepared(workspace: Workspace, recipe: Path) -> Job:
    """The recipe made live and brought up to `preprocess`."""
    job = find_workspace(workspace.root).job("recipe", recipe.stem)
    if not job.settings_file.exists():
        _must(workspace.headrace("new", recipe.stem, "--from", str(recipe)))
    _must(workspace.dvc("repro", f"preprocess@{recipe.stem}", timeout=900))
    return job


def _must(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        sys.exit(f"{done.args}: {done.stdout[-1000:]}{done.stderr[-2000:]}")


def _pair(job: Job) -> dict[str, float]:
    method = job.section("model", Model).method
    with tempfile.TemporaryDirectory() as place:
        told = measure(job, job.settings_file, Path(place), [method])["methods"][method]
    command = [sys.executable, "-P", "-m", "bench.plan", "--train", str(job.workspace.root), job.name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    _must(done)
    taken: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1])
    predicted_s = told["step_s"] if told["step_s"] is not None else told["seconds"][0]
    return {
        "predicted_s": predicted_s, "measured_s": taken["step_s"],
        "predicted_cpu": told["step_cpu_s"] or predicted_s, "measured_cpu": taken["step_cpu_s"],
        "predicted_mb": told["peak_bytes"] / 1e6, "measured_mb": taken["peak_bytes"] / 1e6,
    }  # fmt: skip


def _told(name: str, found: Sequence[Mapping[str, float]]) -> list[str]:
    """Print the means of the rounds; the name, if one of them is off."""
    mean = {key: sum(each[key] for each in found) / len(found) for key in found[0]}
    step, memory = mean["predicted_s"] / mean["measured_s"], mean["predicted_mb"] / mean["measured_mb"]
    cpu = mean["predicted_cpu"] / mean["measured_cpu"]
    steps = (f"{mean['predicted_s']:.4f}", f"{mean['measured_s']:.4f}", f"{step:.2f}", f"{cpu:.2f}")
    sizes = (f"{mean['predicted_mb']:,.0f}", f"{mean['measured_mb']:,.0f}", f"{memory:.2f}")
    print(_LINE.format(name, "", *steps, *sizes), flush=True)
    return [name] if abs(step - 1) > STEP_BOUND or abs(memory - 1) > MEMORY_BOUND else []


def train(root: str, name: str) -> None:
    """The stage `train` of few steps, in this process: prints the seconds of a step and the peak of memory."""
    from core.process.garbage import collect_seldom
    from pipelines.train.train import run
    from registry.store.tracking import TrainingRun

    collect_seldom()
    job = find_workspace(Path(root)).job("recipe", name)
    training, settings = job.section("training", Training), job.settings
    rows = json.loads((job.folder / "prepared" / "statistics.json").read_text())["rows"]["train"]
    epochs = min(training.epochs, STEPS * training.batch_size * training.accumulate / rows)
    write_json(
        job.folder / "settings.json", sealed({**settings, "training": {**settings["training"], "epochs": epochs}})
    )
    heard: list[tuple[int, float, float]] = []  # step, seconds and seconds of CPU, what MLflow took left out
    logged = [0.0, 0.0]
    log = TrainingRun.log

    def noted(self: TrainingRun, step: int, metrics: Mapping[str, float]) -> None:
        start, cpu = time.perf_counter(), time.process_time()
        if "loss" in metrics:
            heard.append((step, start - logged[0], cpu - logged[1]))
        log(self, step, metrics)
        logged[0] += time.perf_counter() - start
        logged[1] += time.process_time() - cpu

    start = time.perf_counter()
    try:
        with mock.patch.object(TrainingRun, "log", noted):
            run(job)
    finally:
        write_json(job.folder / "settings.json", sealed(settings))
    step_s, step_cpu_s = time.perf_counter() - start, time.process_time()
    if len(heard) > WARM + 1:
        (first, began, cpu), (last, ended, end_cpu) = heard[WARM], heard[-1]
        step_s, step_cpu_s = (ended - began) / (last - first), (end_cpu - cpu) / (last - first)
    print(json.dumps({"step_s": step_s, "step_cpu_s": step_cpu_s, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        train(*sys.argv[2:4])
    else:
        main(sys.argv[1:])
