"""A real git, DVC and MLflow workspace with a registered version whose stages take milliseconds to run again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.atomic_files import sha256_file, write_json
from core.manifest import write_manifest
from core.tables.predictions import Answered, write_predictions
from core.tables.statistics import whole
from core.workspace import Job
from flows.graph.graph import Graph
from pipelines.evidence.evidence import BUNDLE, Claim, bundle, weigh
from pipelines.evidence.provenance import hashes, patch
from pipelines.tasks import find_task
from registry.promotion.gate import judge
from registry.store import versions
from registry.store.connection import exclusive
from registry.store.versions import Version
from registry.version import register_version
from registry.version.evidence_files import FILES, LOCK, SETTINGS, hashes_of
from tests.small_model import candidate, make_small_model
from tests.tiny_graph import TinyGraph

# What YAML's flow style breaks, or reads as something else.
NASTY = [
    "package://x", "hub://y", "a: b", "a #b", "#", "{x}", "[y]", "a, b", "a:b", "- x", "? x", "yes", "null", "1e3",
    "*a", "&b", "!t", "%p", "@q", "`r", "|", "~", "'s", '"u', "", " v ", "ü → 文", "x\ny", "z" * 200,
]  # fmt: skip
_STAGES = {
    "collect": ("rows.txt", "raw"), "validate": ("data/models/films/raw", "validated"),
    "preprocess": ("data/models/films/validated", "prepared"), "train": ("data/models/films/prepared", "model"),
    "evaluate": ("data/models/films/model", "evaluation"),
}  # fmt: skip
_STAGE = """\
  {stage}:
    foreach: ${{recipes}}
    do:
      cmd: python -m flows.step {stage}
      deps: ["{dep}", flows/step.py]
      params: ["data/models/films/settings.json": [data]]
      outs: ["data/models/films/{out}": {{persist: true}}]
"""
# A stage copies what the first run left in made/; what trains from a registered model asks the registry for it.
_STEP = """\
import json, pathlib, shutil, sys
stage, made = sys.argv[1], pathlib.Path({made!r})
here = pathlib.Path("data/models/films")
out = dict(collect="raw", validate="validated", preprocess="prepared", train="model", evaluate="evaluation")[stage]
base = json.loads((here / "settings.json").read_text())["data"].get("base")
if stage == "train" and base:
    from registry.store.versions import model_folder
    (made / "base.txt").write_text(str(model_folder("films", base, pathlib.Path("var"))[1]))
shutil.rmtree(here / out, ignore_errors=True)
shutil.copytree(made / out, here / out)
"""


@dataclass(frozen=True)
class RemadeWorld(TinyGraph):
    """The recipe `films`, registered as films/1. made: what its stages leave."""

    made: Path

    @property
    def job(self) -> Job:
        return self.workspace.job("recipe", "films")

    @property
    def version(self) -> Version:
        return versions.resolve("films", "1", self.workspace.var)

    def kept(self, name: str) -> Path:
        file = versions.evidence(self.version, name, self.workspace.var)
        assert file is not None, name
        return file

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "more")

    def run(self, **data: Any) -> None:
        """Every stage, with these settings of `data:`."""
        settings = {"task": "text_classification", "data": {"source": "package://x", **data}, "bases": {}}
        write_json(self.job.folder / SETTINGS, settings)
        graph = Graph(self.root)
        for stage in _STAGES:
            graph.reproduce(f"{stage}@films")

    def register(self, change: Callable[[dict[str, Any]], object] = lambda told: None) -> None:
        """As `register` does; change: what is done to evidence.json before it is hashed."""
        folder = self.root.parent / "evidence"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.job.folder / "evaluation", folder)
        write_json(folder / LOCK, _entries(self.job))
        for name, source in (("recipe.yaml", self.job.settings_file), ("recipe.lock", self.job.lock_file),
                             (SETTINGS, self.job.folder / SETTINGS)):  # fmt: skip
            shutil.copyfile(source, folder / name)
        if text := patch(self.root):
            (folder / "code.patch").write_text(text)
        subject = replace(candidate(self.job.folder / "model", folder, promote=False), recipe="films")
        told = self._bundle(subject.model_hash, folder / versions.PREDICTIONS)
        told[FILES] = hashes_of({path.name: path for path in folder.iterdir()})
        change(told)
        write_json(folder / BUNDLE, told)
        tags = {
            versions.EVIDENCE_HASH: sha256_file(folder / BUNDLE), versions.TEST_HASH: told["test"]["hash"],
            "code_commit": told["origin"]["code_commit"],
        }  # fmt: skip
        kept = {path.name: path for path in sorted(folder.iterdir())}
        with exclusive(self.workspace.var):
            register_version.register(replace(subject, evidence=kept, tags=tags), self.workspace.var)

    def _bundle(self, model_hash: str, predictions: Path) -> dict[str, Any]:
        task = find_task("text_classification")
        metrics = json.loads((self.made / "evaluation/metrics.json").read_text())
        claim = Claim(task, "accuracy", {}, metrics, predictions, model_hash, 1)
        evidence = weigh(claim, None)
        origin = {"task": "text_classification", **hashes(self.job)}
        return bundle(claim, judge({}, evidence), evidence, name="films", origin=origin, rival=None)


def _entries(job: Job) -> dict[str, Any]:
    from pipelines.evidence.provenance import lock_entries

    return lock_entries(job)


def make_remade_world(root: Path) -> RemadeWorld:
    """root: a folder that is not there yet. Nothing is run or registered yet."""
    made = root / "made"
    made.mkdir(parents=True)
    for name in ("raw", "validated", "prepared"):
        (made / name).mkdir()
        (made / name / "rows.txt").write_text(name)
        write_manifest(made / name, {})
    shutil.copytree(make_small_model(root / "small"), made / "model")
    _make_evaluation(made / "evaluation")
    (root / "w").mkdir()
    world = RemadeWorld(root / "w", made)
    world.write("params.yaml", json.dumps({"recipes": {"films": {"task": "text_classification"}}, "indexes": {}}))
    stages = "".join(_STAGE.format(stage=stage, dep=dep, out=out) for stage, (dep, out) in _STAGES.items())
    world.write("dvc.yaml", "stages:\n" + stages)
    world.write("flows/__init__.py", "")
    world.write("flows/step.py", _STEP.format(made=str(made)))
    world.write("rows.txt", "rows")
    world.write("recipes/films.yaml", "title: films\n")
    world.write("recipes/films.lock", "source: {kind: package}\nbases: {}\n")
    world.write(".gitignore", "/var/\n/data/\n__pycache__/\n")
    world.write(".dvc/config", "[core]\n    analytics = false\n    autostage = false\n")
    world.write(".dvc/.gitignore", "/config.local\n/tmp\n/cache\n")
    world.git("init", "-q", "-b", "main")
    world.git("config", "user.name", "t")
    world.git("config", "user.email", "t@example.org")
    world.commit()
    return world


def _make_evaluation(folder: Path) -> None:
    (folder / "plots").mkdir(parents=True)
    (folder / "plots" / "confusion.json").write_text("[]")
    (folder / "report.md").write_text("# films\n")
    truth = np.arange(40) % 2
    said = np.where(np.arange(2) == truth[:, None], 0.9, 0.1)
    answered = Answered([f"row-{at}" for at in range(40)], {"label": truth}, {"probabilities": said}, {})
    write_predictions(answered, folder / versions.PREDICTIONS, axes={"probabilities": ["neg", "pos"]}, readable={})
    task = find_task("text_classification")
    scored = whole(task.score, task.measure({**answered.model, **answered.truth}))
    write_json(folder / "metrics.json", scored)
    write_manifest(folder, {})
