"""train: prepared/ -> model/, base/. Trains what the task hands over, and saves it with the history of its training.

Killed, it goes on from its last checkpoint and writes the same bytes; its run on MLflow's page goes on too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.atomic_files import replacing, sha256_json, write_json
from core.closure import BOUNDARY, closure, code_hash
from core.errors import BadData, BadRequest
from core.manifest import read_manifest, require_whole, write_manifest
from core.schema.model import Compute, Model, Training
from core.tables.learner import History, Learner, TorchLearner
from core.tables.prepared import read_features
from core.tables.task import Base, Place, Task
from core.weights.base_store import FOLDER, seal
from core.weights.determinism import steady
from core.workspace import Job
from pipelines.driver import FORCED
from pipelines.place import place_of
from pipelines.tasks import find_task, task_files
from pipelines.train.checkpoints import Checkpoints
from pipelines.train.headroom import require_step, require_weights

if TYPE_CHECKING:
    from pipelines.train.batches import EncodedRows
    from pipelines.train.history import Listener

HISTORY = "history.json"
_KEY_CHARACTERS = 16  # of the training's key in a folder's name
_LIBRARIES = ("accelerate", "numpy", "peft", "torch", "transformers")  # those that decide the bits of a result
_OF_THE_LOOP = ("l1", "class_weights", "label_smoothing")  # settings of `training:` that what fits itself ignores
_EXPERIMENT = "DVC_EXP_NAME"  # DVC sets it in `dvc exp run`


Fits = Callable[["TorchLearner", "EncodedRows", "Training"], None]


def _any_size(learner: TorchLearner, rows: EncodedRows, training: Training) -> None:
    """Whatever it takes is tried."""


def run(job: Job) -> None:
    """Train a recipe's model."""
    from registry.store.tracking import Dataset, training_run

    settings, prepared = job.settings, job.folder / "prepared"
    digest = sha256_json(require_whole(prepared)["files"])
    model, training = job.section("model", Model), job.section("training", Training)
    task = find_task(settings["task"])
    at = place_of(job, seed=training.seed)
    forced = os.environ.get(FORCED) == "train"
    learner = start(job, task, at, forced=forced)
    key = training_key(job, data=digest, base=at.base)
    checkpoints = Checkpoints(job.workspace.var / "checkpoints" / job.name / key[:_KEY_CHARACTERS])
    with (
        training_run(
            var=job.workspace.var,
            recipe=job.name,
            key=key,
            experiment=_EXPERIMENT in os.environ,
            params=_flat({name: settings[name] for name in ("task", "model", "training", "compute")}),
            tags={"data_sha256": digest, "base_sha256": at.base.sha256 or "none"},
            dataset=Dataset(job.name, digest, f"data/models/{job.name}/prepared"),
        ) as tracked,
        replacing(job.folder / "model") as folder,
        replacing(job.folder / FOLDER) as kept,
    ):
        history = train(
            learner, training, prepared=prepared, listen=tracked.log, checkpoints=checkpoints,
            fits=_any_size if forced else partial(require_step, method=model.method, methods=task.methods),
        )  # fmt: skip
        task.save(learner, at, into=folder, base=kept)
        seal(kept, folder, reference=str(model.base), sha256=str(at.base.sha256))
        write_json(folder / HISTORY, history)
        write_manifest(folder, {"base": at.base.sha256, "data": digest, "method": model.method})
        tracked.finish(model_hash=sha256_json(read_manifest(folder)["files"]))
    checkpoints.clear()


def training_key(job: Job, *, data: str, base: Base) -> str:
    """A hash of everything that decides the result: what has another key goes on from no checkpoint of this one."""
    import torch

    root, settings = Path(__file__).parents[2], job.settings
    code = closure(root, Path(__file__), task_files()[settings["task"]], boundary=BOUNDARY)
    return sha256_json(
        {
            **{name: settings[name] for name in ("task", "model", "training", "compute")},
            "data": data,
            "base": base.sha256,
            "code": code_hash(root, code),
            "versions": {library: version(library) for library in _LIBRARIES if find_spec(library)},
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        }
    )


def start(job: Job, task: Task, at: Place, *, forced: bool = False) -> Learner | TorchLearner:
    """What is to be trained, in a process that computes the same from the same from now on.

    Raises BadRequest where its weights cannot fit into memory. forced: try it all the same.
    """
    steady(threads=job.section("compute", Compute).threads)
    model = job.section("model", Model)
    if not forced:
        require_weights(task, model, at)
    return task.learner(model, at)


def train(
    learner: Learner | TorchLearner,
    training: Training,
    *,
    prepared: Path,
    listen: Listener,
    checkpoints: Checkpoints | None = None,
    fits: Fits = _any_size,
) -> History:
    """Train the learner in place on what preprocess left in `prepared`, from the newest checkpoint on if there is one.

    fits: raises where the memory is too small for the learner on its rows.
    Returns its metrics by step. What fits itself knows no checkpoints, and is heard when it has ended.
    """
    rows, validation = read_features(prepared, "train"), read_features(prepared, "validation")
    if not rows.num_rows:
        raise BadData(f"{prepared / 'train.arrow'} has no rows. Widen data.where, or raise data.split.train.")
    if not isinstance(learner, TorchLearner):
        if asked := [name for name in _OF_THE_LOOP if getattr(training, name)]:
            raise BadRequest(f"training.{asked[0]}: this model is fitted in one go, without it. Take it out.")
        history = learner.fit(rows, validation)
        for line in history:
            listen(int(line["step"]), {name: value for name, value in line.items() if name != "step"})
        return history
    if training.patience is not None and not validation.num_rows:
        raise BadRequest("training.patience needs validation rows, and data.split.validation left none.")
    from pipelines.tasks.parts.answers.label_loss import with_label_loss
    from pipelines.train.loop import Plan, fit

    return fit(
        with_label_loss(learner, training, rows), rows, validation, Plan(training, checkpoints, fits), listen=listen
    )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str | float | int]:
    """{"model": {"method": "lora"}} -> {"model.method": "lora"}."""
    flat: dict[str, str | float | int] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, int | float) else str(value)
    return flat
