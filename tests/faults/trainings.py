"""Trainings killed again and again: `python -m tests.faults.trainings FOLDER --tries 20 --seed 7` -> one JSON document.

Every task and method, with dropout, batches by length, mirrored pictures, accumulation, a schedule and early stopping
on. Each try is killed three times in a row and must end with the bytes of a training that nothing disturbed; MLflow
must hold one run with every step once. The first tries go through every subject at every moment, all three kills at
that moment; after those both are drawn from the seed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.conftest import Workspace, film_rows, make_workspace
from tests.faults import soak
from tests.faults.killing import Kill, attempt

KILLS = 3
_TEXT = """\
task: text_classification
data: {source: rows.csv, columns: {text: text, label: label}, split: {train: 0.6, validation: 0.2, test: 0.2}}
preprocess: {max_tokens: 16}
"""
_PICTURES = """\
task: image_classification
data: {source: pictures, reader: labelled_folders, split: {train: 0.6, validation: 0.2, test: 0.2}}
preprocess: {flip: true}
"""
_TRAINING = """\
training: {epochs: 3, batch_size: 8, accumulate: 2, learning_rate: 2.0e-3, schedule: cosine, patience: 2}
compute: {threads: 1}
"""
_BERT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic", "num_channels": 3}
SUBJECTS = {
    "text-pretrain": (
        f"{_TEXT}model: {{base: {{architecture: bert, settings: {json.dumps(_BERT)}}}, method: pretrain}}\n"
    ),
    "text-full": f"{_TEXT}model: {{base: bases/bert, method: full, dropout: 0.1}}\n",
    "text-lora": f"{_TEXT}model: {{base: bases/bert, method: lora, lora: {{rank: 2, dropout: 0.1}}}}\n",
    "text-transfer": f"{_TEXT}model: {{base: bases/bert, method: transfer}}\n",
    "pictures-pretrain": (
        f"{_PICTURES}model: {{base: {{architecture: resnet, settings: {json.dumps(_RESNET)}}}, method: pretrain}}\n"
    ),
    "pictures-full": f"{_PICTURES}model: {{base: bases/resnet, method: full}}\n",
}
MOMENTS = {
    "inside accumulation": "accelerate.accelerator:Accelerator.backward",
    "between steps": "pipelines.train.history:Lines.stepped",
    "at an epoch's end": "pipelines.train.loop:Loop._validate",
    "in evaluation": "pipelines.train.validation:_sums",
    "in a save, among its files": "safetensors.torch:save_file",
    "in a save, before its manifest": "pipelines.train.checkpoints:write_manifest",
    "in a save, while it syncs": "core.atomic_files:sync",
    "while the model is saved": "pipelines.train.train:write_json",
}
_CALLS = {"inside accumulation": 24, "between steps": 12, "in evaluation": 6, "at an epoch's end": 2}
_CALLS |= {"in a save, among its files": 12, "in a save, before its manifest": 5, "in a save, while it syncs": 20}
_EVERY_S = (0.0, 0.05, 300.0)  # a checkpoint each step, now and then, at epochs' ends only


def make_subjects(root: Path) -> Workspace:
    """A workspace in which every subject is live, collected, validated and prepared."""
    made = make_workspace(root)
    made.write_rows(film_rows(120))
    _draw_pictures(root / "pictures")
    log = root / "prepare.log"
    _must(attempt(lambda: _save_bases(root / "bases"), log=log), log)
    for name, recipe in SUBJECTS.items():
        made.write(f"recipes/{name}.yaml", recipe + _TRAINING)
        _must(attempt(lambda name=name: _prepare(root, name), log=log), log)  # type: ignore[misc]
    made.live(recipes={name: _live(name) for name in SUBJECTS})
    return made


def train(root: Path, name: str, *, every_s: float) -> None:
    """One training as the stage does it."""
    from core.workspace import find_workspace
    from pipelines.train import loop
    from pipelines.train.train import run

    os.chdir(root)
    loop.CHECKPOINT_EVERY_S = every_s
    run(find_workspace(root).job("recipe", name))


def planned(number: int) -> tuple[str, str | None]:
    """The subject of a try, and the moment of its kills: each pair once, the subjects in turn; then no moment."""
    turn, subject = divmod(number, len(SUBJECTS))
    moments = sorted(MOMENTS)
    moment = moments[(turn + subject) % len(moments)] if turn < len(moments) else None
    return sorted(SUBJECTS)[subject], moment


def disturb(made: Workspace, name: str, at: str | None, draw: random.Random) -> dict[str, Any]:
    """Train with three kills in a row, then to the end. What was done, and what is wrong with the result.

    at: the moment of the kills; None draws one each time.
    """
    every_s = draw.choice(_EVERY_S)
    log = made.root / f"{name}.log"
    done: list[str] = []
    killed = missed = 0
    while killed < KILLS and missed < KILLS:
        moment = at or draw.choice(sorted(MOMENTS))
        kill = Kill(MOMENTS[moment], draw.randint(1, max(1, _CALLS.get(moment, 1) >> missed)))
        code = attempt(lambda: train(made.root, name, every_s=every_s), log=log, kill=kill)
        done.append(f"{moment}, call {kill.call}: {code}")
        killed, missed = killed + (code == -9), missed + (code == 0)  # what is left may have fewer calls
        if code not in (0, -9):
            break
    else:
        code = attempt(lambda: train(made.root, name, every_s=every_s), log=log)
    faults = [] if code == 0 else [log.read_text()[-2000:]]
    return {"name": name, "at": at, "every_s": every_s, "kills": done, "faults": faults}


def summary(tries: list[dict[str, Any]]) -> dict[str, int]:
    """Pairs of subject and moment that a kill met, kills, faults."""
    met = [
        (tried["name"], kill.rpartition(", call ")[0])
        for tried in tries
        for kill in tried["kills"]
        if kill.endswith(": -9")
    ]
    pairs, faults = len(set(met)), sum(len(tried["faults"]) for tried in tries)
    return {"pairs": pairs, "of": len(SUBJECTS) * len(MOMENTS), "kills": len(met), "faults": faults}


def check(made: Workspace, name: str, reference: dict[str, str]) -> list[str]:
    """What differs from the undisturbed training, and what a killed one left behind."""
    found = made.hashes(f"data/models/{name}/model")
    faults = [f"{file} differs" for file in sorted(reference.keys() | found) if reference.get(file) != found.get(file)]
    faults += [f"left: {path}" for path in made.path("var/checkpoints", name).glob("*/*")]
    with closing(sqlite3.connect(made.path("var/mlflow/mlflow.db"))) as store:
        twice = store.execute(
            "SELECT key, step, COUNT(*) FROM metrics WHERE key NOT LIKE 'system/%' GROUP BY run_uuid, key, step"
            " HAVING COUNT(*) > 1"
        ).fetchall()
        open_runs = store.execute("SELECT COUNT(*) FROM runs WHERE status = 'RUNNING'").fetchone()[0]
        steps = store.execute(
            "SELECT r.run_uuid, COUNT(*) FROM runs r JOIN metrics m USING (run_uuid) JOIN experiments e"
            " USING (experiment_id) WHERE e.name = ? AND m.key NOT LIKE 'system/%' AND m.key NOT LIKE 'test.%'"
            " GROUP BY r.run_uuid",  # test.*: of `register`, which writes them into one run a model
            (name,),
        ).fetchall()
    faults += [f"MLflow has {key} of step {step} {count} times" for key, step, count in twice]
    faults += [f"MLflow has {open_runs} runs that never ended"] if open_runs else []
    if len({count for _, count in steps}) > 1:
        faults.append(f"MLflow's runs of {name} have different numbers of points: {steps}")
    return faults


def main() -> None:
    """Prepare, train each subject undisturbed, then disturb as often as asked; exit code 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tries", type=int, default=6)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=60.0, help="ends after the try that runs then")
    arguments = parser.parse_args()
    soak.import_all()
    made = make_subjects(arguments.folder)
    references = {}
    for name in SUBJECTS:
        log = made.root / f"{name}.log"
        _must(attempt(lambda name=name: train(made.root, name, every_s=300.0), log=log), log)  # type: ignore[misc]
        references[name] = made.hashes(f"data/models/{name}/model")
    draw, tries = random.Random(arguments.seed), []
    deadline = time.monotonic() + arguments.minutes * 60
    for number in range(arguments.tries):
        name, at = planned(number)
        shutil.rmtree(made.path("data/models", name, "model"))
        tried = disturb(made, name, at, draw)
        tried["faults"] += check(made, name, references[name])
        tries.append(tried)
        print(f"{number + 1} of {arguments.tries}: {json.dumps(tried)}", file=sys.stderr, flush=True)
        if time.monotonic() > deadline:
            break
    print(json.dumps({**summary(tries), "tries": tries}))
    sys.exit(1 if any(tried["faults"] for tried in tries) else 0)


def _must(code: int, log: Path) -> None:
    if code:
        raise SystemExit(f"ended with {code}:\n{log.read_text()[-4000:]}")


def _prepare(root: Path, name: str) -> None:
    from core.workspace import find_workspace
    from pipelines.collect import collect
    from pipelines.preprocess import preprocess
    from pipelines.recipes.observe import observe, write_lock
    from pipelines.settings import settings
    from pipelines.validate import validate

    os.chdir(root)
    job = find_workspace(root).job("recipe", name)
    write_lock(job, observe(job))
    stages: list[Callable[..., None]] = [settings.run, collect.run, validate.run, preprocess.run]
    for stage in stages:
        stage(job)


def _live(name: str) -> dict[str, str]:
    pictures = name.startswith("pictures")
    task = "image_classification" if pictures else "text_classification"
    return {"task": task, "watch": "pictures" if pictures else "rows.csv"}


def _draw_pictures(folder: Path) -> None:
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(3)
    for number in range(96):
        label = ("dark", "light")[number % 2]
        pixels = noise.integers(0, 140, (12, 12, 3), dtype=np.uint8) + np.uint8(100 * (number % 2))
        path = folder / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def _save_bases(folder: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel, ResNetConfig, ResNetModel

    from pipelines.tasks.parts import tokens

    torch.manual_seed(1)
    (folder / "bert").mkdir(parents=True)
    tokens.learn([row["text"] for row in film_rows(120)], folder / "bert", size=300)
    BertModel(BertConfig(**_BERT, vocab_size=300, max_position_embeddings=40)).save_pretrained(folder / "bert")
    ResNetModel(ResNetConfig(**_RESNET)).save_pretrained(folder / "resnet")


if __name__ == "__main__":
    main()
