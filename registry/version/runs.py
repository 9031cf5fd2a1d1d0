"""The run behind a version: found or made, with the evaluation, the evidence and MLflow's copy of the files in it."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.atomic_files import replacing, sync, sync_tree
from core.reflink import clone, share
from core.weights.base_store import FOLDER, STORE, base_folder, named_base, unlike
from registry.promotion.card import title_of
from registry.promotion.gate import Verdict
from registry.store.connection import experiment_id, if_there, is_embedded, sent_once
from registry.store.names import local_folder, registered_name, trained_name
from registry.store.server_bases import EXPERIMENT, TAG, kept_run
from registry.store.versions import EVIDENCE, FREED, MODEL_FILES, MODEL_HASH, RECIPE, Version
from registry.version.packing import Contents, pack

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel

CARD = "model-card.md"
_NOTE = "mlflow.note.content"  # the tag that MLflow's page of a run begins with
_FOLDERS = 4  # of MLflow's, that may be new: EXPERIMENT/models/ID/artifacts


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What the files of a version are made of, before anything is judged.

    history: {"step": ..., metric: ...} by step, for a run that the server does not have.
    """

    name: str
    recipe: str
    model_hash: str
    contents: Contents
    history: Sequence[Mapping[str, float]]
    params: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Candidate(Draft):
    """All that a version is made of.

    evidence: name of an artifact -> the file or folder kept under it. rival: the champion's version that the gates
    compared it with. promote: whether passing its gates makes it champion; approval: whether a person is asked then.
    """

    verdict: Verdict
    card: str
    tags: Mapping[str, str]
    evidence: Mapping[str, Path]
    metrics: Mapping[str, float]
    rival: str | None
    promote: bool
    approval: bool = False


def run_of(client: MlflowClient, candidate: Draft, existing: Version | None, var: Path) -> str:
    """The run that trained this model, or one made from its history when the server has none."""
    if existing is not None and (run := if_there(client.get_run, existing.run_id)) is not None:
        if run.info.lifecycle_stage == "deleted":  # in the bin
            client.restore_run(existing.run_id)
        return existing.run_id
    experiment = experiment_id(client, candidate.recipe, var)
    found = client.search_runs(
        [experiment],
        f"tags.{MODEL_HASH} = '{candidate.model_hash}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return str(found[0].info.run_id) if found else _run_of_history(client, candidate, experiment)


def _run_of_history(client: MlflowClient, candidate: Draft, experiment: str) -> str:
    from mlflow.entities import Metric, Param

    tags = {MODEL_HASH: candidate.model_hash, RECIPE: candidate.recipe, "mlflow.source.name": "pipelines.register"}
    mine = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    begun = client.search_runs([experiment], mine, max_results=1)
    if begun:
        run = begun[0]  # cut short before its end
    else:
        name = trained_name(candidate.recipe, candidate.model_hash, candidate.params)
        with sent_once():
            run = client.create_run(experiment, tags=tags, run_name=name)
    run_id, at = str(run.info.run_id), run.info.start_time
    client.log_batch(run_id, params=[Param(key, value) for key, value in candidate.params.items()])
    metrics = [
        Metric(key, float(value), at, int(entry["step"]))
        for entry in candidate.history
        for key, value in entry.items()
        if key != "step"
    ]
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[start : start + 1000])
    client.set_terminated(run_id)
    return run_id


def name_run(client: MlflowClient, candidate: Candidate, run_id: str, version: str) -> None:
    """Call the run by its version, and say on its page what it is of, unless a person named or described it."""
    run = client.get_run(run_id)
    before = run.info.run_name or ""
    name = registered_name(candidate.recipe, version, candidate.params, before=before)
    if name != before:
        client.update_run(run_id, name=name)
    if not run.data.tags.get(_NOTE):
        gates = "passed" if candidate.verdict.passed else "refused"
        told = (
            f"{title_of(candidate.card)}\n\nVersion {version} of {candidate.name}, gates {gates}: its card says more."
        )
        client.set_tag(run_id, _NOTE, told)


def keep_base(client: MlflowClient, model: Path, var: Path) -> None:
    """Keep the base that a model adds to in var/bases and, where MLflow is a server, there: each base once.

    Raises BadRequest when it is not here, BadData when what is here is another.
    """
    base, named = base_folder(model), named_base(model)
    if base is None or named is None:
        return
    kept = var / STORE / named.files
    if base != kept and unlike(kept, named.files):
        with replacing(kept) as folder:
            shutil.copytree(base, folder, copy_function=clone, dirs_exist_ok=True)
    if not is_embedded() and kept_run(client, named) is None:
        experiment = experiment_id(client, EXPERIMENT, var)
        with sent_once():
            run = client.create_run(experiment, tags={TAG: named.files}, run_name=str(named))
        client.log_artifacts(run.info.run_id, str(kept), FOLDER)
        _keep(local_folder(f"{run.info.artifact_uri}/{FOLDER}", var))
        client.set_terminated(run.info.run_id)


def logged_model(client: MlflowClient, candidate: Draft, run_id: str, existing: Version | None, var: Path) -> str:
    """The id of MLflow's copy of the model's files, written once; one that was cut short is written to its end.

    Files that were freed are written anew, and then the version is no longer marked.
    """
    from mlflow.entities import LoggedModelStatus
    from mlflow.entities.logged_model_output import LoggedModelOutput

    keep_base(client, candidate.contents.model, var)
    experiment = client.get_run(run_id).info.experiment_id
    found = [] if existing is not None else _unused_models(client, candidate, run_id, experiment)
    if existing is not None:
        model = client.get_logged_model(existing.model_id)
    elif found:
        model = found[0]
    else:
        with sent_once():
            model = client.create_logged_model(
                experiment, candidate.name, run_id, tags={MODEL_HASH: candidate.model_hash, RECIPE: candidate.recipe}
            )
    folder = local_folder(model.artifact_location, var)
    freed = existing is not None and FREED in existing.tags
    gone = folder is not None and (freed or not (folder / MODEL_FILES).is_dir())
    if model.status != LoggedModelStatus.READY or gone:
        _write_files(client, candidate, run_id, model.model_id, model.artifact_location, var)
        outputs = client.get_run(run_id).outputs
        if model.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
            with sent_once():
                client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        if model.status != LoggedModelStatus.READY:
            client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    if existing is not None and freed:
        client.delete_model_version_tag(existing.name, existing.version, FREED)
    return str(model.model_id)


def _unused_models(client: MlflowClient, candidate: Draft, run_id: str, experiment: str) -> list[LoggedModel]:
    """What an earlier try left. Not that of a version under another name: of a model that was renamed in MLflow."""
    made = client.search_logged_models(
        [experiment], f"tags.{MODEL_HASH} = '{candidate.model_hash}' and name = '{candidate.name}'"
    )
    used = {each.source for each in client.search_model_versions(f"run_id = '{run_id}'")}
    return [each for each in made if f"models:/{each.model_id}" not in used]


def _write_files(client: MlflowClient, candidate: Draft, run_id: str, model_id: str, location: str, var: Path) -> None:
    from mlflow.models import Model

    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        packed = Path(scratch) / "packed"
        about = Model(artifact_path=location, model_uuid=model_id, run_id=run_id, model_id=model_id)
        pack(candidate.contents, packed, about)
        client.log_model_artifacts(model_id, str(packed))
    if (folder := local_folder(location, var)) is not None:
        share(candidate.contents.model, folder / MODEL_FILES)
    _keep(folder)


def log_evaluation(client: MlflowClient, candidate: Candidate, run_id: str, model_id: str, var: Path) -> None:
    """Metrics and evidence into the run; of the metrics only those that it does not say already."""
    from mlflow.entities import Metric

    run = client.get_run(run_id)
    local_folder(run.info.artifact_uri, var)  # where MLflow will write
    known = run.data.metrics
    values = {f"test.{key}": value for key, value in candidate.metrics.items()}
    now = int(time.time() * 1000)
    metrics = [Metric(key, v, now, 0, model_id=model_id) for key, v in values.items() if known.get(key) != v]
    client.log_batch(run_id, metrics=metrics)
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        folder = Path(scratch)
        (folder / CARD).write_text(candidate.card, encoding="utf-8")
        for name, source in candidate.evidence.items():
            copy = partial(shutil.copytree, copy_function=shutil.copyfile) if source.is_dir() else shutil.copyfile
            copy(source, folder / name)  # the content alone: DVC may have made the files read-only
        client.log_artifacts(run_id, str(folder), EVIDENCE)
    _keep(local_folder(f"{run.info.artifact_uri}/{EVIDENCE}", var))


def _keep(folder: Path | None) -> None:
    """Bring artifacts that lie on this machine to disk: MLflow only copies them, and SQLite syncs the version."""
    if folder is not None:
        sync_tree(folder)
        for above in folder.parents[:_FOLDERS]:
            sync(above)
