"""`make gallery`: the table of docs/families.md, each row out of a run of its example and that run's own report.

Every example is run in a workspace of its own up to `evaluate`. One whose data cannot be had keeps its row, and is
named. `python -m bench.gallery --only etth1 --downloads FOLDER`: FOLDER holds files of published addresses, under any
name; those with the sha256 that an example names are taken.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.example_data import EXAMPLES, missing, place_downloads
from core.atomic_files import read_json, write_text
from core.workspace import find_workspace
from pipelines.recipes.read import read_recipe
from pipelines.recipes.recipe import Recipe
from pipelines.tasks import find_task
from tests.conftest import ROOT, make_workspace

PAGE = ROOT / "docs" / "families.md"
BEGIN, END = "<!-- make gallery: begin -->", "<!-- make gallery: end -->"
HEAD = (
    "| example | metric | model | trivial baseline | other baselines | seconds | peak memory |",
    "|---|---|---|---|---|---|---|",
)
_DEFAULT = ROOT / "recipes" / "film-reviews.yaml"
_NAME = re.compile(r"\| `([^`]+)`")
# What a source begins with, and what its row is marked by.
_MARKS = (("http", " *"), ("/usr/share/datasets/", " †"), ("~/", " ‡"))


@dataclass(frozen=True)
class Ran:
    """What a run took: seconds of all stages, and the largest of its processes."""

    seconds: float
    peak_mb: float


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="an example's name")
    parser.add_argument("--downloads", type=Path)
    asked = parser.parse_args(arguments)
    files = {file.stem: file for file in (_DEFAULT, *EXAMPLES)}
    if unknown := set(asked.only or ()) - files.keys():
        sys.exit(f"no example {', '.join(sorted(unknown))}. Allowed: {', '.join(files)}")
    for name, file in files.items():
        if asked.only is None or name in asked.only:
            with tempfile.TemporaryDirectory() as folder:
                row = measured(file, Path(folder) / name, asked.downloads)
            if row is not None:
                write_text(PAGE, with_row(PAGE.read_text(encoding="utf-8"), name, row, list(files)))
                print(row, flush=True)


def measured(example: Path, folder: Path, downloads: Path | None) -> str | None:
    """The row of an example that is run in a new workspace; None, with a line that says why, where it cannot be."""
    made = make_workspace(folder)
    workspace, recipe = find_workspace(made.root), read_recipe(example)
    place_downloads(recipe.data, workspace, downloads)
    if why := missing(example, workspace):
        print(f"{example.stem}: its row stays as it is: {why}", flush=True)
        return None
    told = made.headrace("new", example.stem, "--from", str(example))
    if told.returncode:
        sys.exit(f"{example.stem}: {told.stderr}")
    ran = _run([sys.executable, "-m", "dvc", "repro", f"evaluate@{example.stem}"], made.root, made.env)
    report = read_json(workspace.job("recipe", example.stem).folder / "evaluation" / "report.json")
    return row_of(example.stem, recipe, report, ran)


def _run(command: Sequence[str], root: Path, env: Mapping[str, str]) -> Ran:
    """Run to its end, with what the kernel counted of it and of all that it waited for."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=root, env=env, stdout=sys.stderr)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit code {process.returncode}")
    return Ran(time.perf_counter() - start, used.ru_maxrss / 1e3)


def row_of(name: str, recipe: Recipe, report: Mapping[str, Any], ran: Ran) -> str:
    """A line of the table; bold is a baseline that is as good as the model, or better."""
    metric = str(recipe.evaluation.primary)
    more = find_task(recipe.task).metrics[metric]
    model = report["model"][metric]["value"]
    baselines = []
    for each in sorted(report["baselines"], key=lambda each: each != report["trivial_baseline"]):
        if metric in report["baselines"][each]:
            value = report["baselines"][each][metric]["value"]
            said = f"{each} {_figure(value)}"
            baselines.append(f"**{said}**" if (value >= model if more else value <= model) else said)
    trivial, *others = baselines or [""]
    address = str(next(iter(getattr(recipe.data.source, "addresses", {"": recipe.data.source}).values())))
    mark = next((mark for start, mark in _MARKS if address.startswith(start)), "")
    cells = [f"`{name}` ({recipe.model.method}){mark}", metric, _interval(report["model"][metric]), trivial]
    cells += [", ".join(others), f"{ran.seconds:,.0f}", f"{ran.peak_mb:,.0f} MB"]
    return f"| {' | '.join(cells)} |"


def with_row(page: str, name: str, row: str, order: Sequence[str]) -> str:
    """The page with one row put in, or in place of the one that is there; rows stand in this order.

    Raises ValueError for a page without the two markers.
    """
    before, begin, rest = page.partition(BEGIN)
    table, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE}: no {BEGIN} with {END} below it.")
    rows = {found[1]: line for line in table.splitlines() if (found := _NAME.match(line))} | {name: row}
    known = [rows.pop(each) for each in order if each in rows]
    return "\n".join([f"{before}{begin}", *HEAD, *known, *rows.values(), f"{end}{after}"])


def _interval(figure: Mapping[str, float]) -> str:
    return f"{_figure(figure['value'])} [{_figure(figure['low'])}, {_figure(figure['high'])}]"


def _figure(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3g}"


if __name__ == "__main__":
    main(sys.argv[1:])
