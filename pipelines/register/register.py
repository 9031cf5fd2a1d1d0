"""register: model/, evaluation/ and the champion -> a verdict, a version in the registry, registered.json.

The artifact that would be served is tried in a process of its own before it is judged. A gate that refuses is a
result: the version is kept with its reasons and the stage succeeds. In `dvc exp run` the gates are asked and nothing
is registered.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import TypeAdapter

from core.atomic_files import sha256_json, write_json
from core.manifest import require_whole
from core.patience import patiently
from core.schema.columns import ROW_ID
from core.schema.evaluation import SERVING, Gate, Registry
from core.schema.model import Compute
from core.tables.predictions import Answered, covers, read_predictions, rows_hash, write_predictions
from core.tables.task import says_labels
from core.workspace import Job
from pipelines.evidence.evidence import (
    RIVAL,
    Claim,
    Rival,
    as_registered,
    asked,
    called,
    label_metrics,
    predictions_of,
    review,
    slice_metrics,
    weigh,
)
from pipelines.register.onnx_export import kept, variant
from pipelines.register.subject import Judged, Subject, Tried
from pipelines.register.version_contents import candidate, draft, examples
from pipelines.tasks import find_task
from registry.promotion import promotion
from registry.promotion.card import baseline_line
from registry.promotion.gate import AGAINST_CHAMPION, Verdict, judge, reason_line, with_trial
from registry.promotion.measured import Measured, read_measured
from registry.store import signing, versions
from registry.store.connection import exclusive, server_name
from registry.store.versions import Version
from registry.version import register_version
from registry.version.onnx_choice import SECTION, described
from registry.version.trial import difference, rehearse

_TRIED = 32  # inputs that the artifact is tried with
_TRIES = 3  # judgements, while others move the champion of a shared server


def run(job: Job) -> None:
    """Judge a recipe's model, register it and move the aliases."""
    signing.require_settings()
    if warning := signing.exposed():
        print(f"warning: {warning}", flush=True)
    subject = _subject(job)
    if "DVC_EXP_NAME" in os.environ:
        receipt = _receipt(subject, _experiment(subject), None)
    else:
        receipt = patiently(lambda: _register(subject))
    write_json(job.folder / "registered.json", receipt)
    for line in _last_words(subject, receipt):
        print(line, flush=True)


def _subject(job: Job) -> Subject:
    settings = job.settings
    model = require_whole(job.folder / "model")
    require_whole(job.folder / "evaluation")
    return Subject(
        job=job,
        name=job.section("registry", Registry).name or job.name,
        task=find_task(settings["task"]),
        model_hash=sha256_json(model["files"]),
        measured=read_measured(job.folder / "evaluation") or Measured(),
        gates=TypeAdapter(dict[str, Gate]).validate_python(settings["gates"]),
        primary=settings["evaluation"]["primary"],
    )


def _experiment(subject: Subject) -> Verdict:
    """The verdict of an experiment; what serving costs is measured of a model that is registered only."""
    gates = {name: gate for name, gate in subject.gates.items() if name not in SERVING}
    champion = versions.champion(subject.name, subject.job.workspace.var)
    with TemporaryDirectory(prefix="headrace-") as folder:
        return _judge(replace(subject, gates=gates), champion, {}, Path(folder)).verdict


def _register(subject: Subject) -> dict[str, Any]:
    """Try, judge and register; judged again while somebody else moves the champion in between."""
    var = subject.job.workspace.var
    promotion.settle(subject.name, var, lambda version, champion: review(version, champion, var))
    with exclusive(var), TemporaryDirectory(prefix="headrace-") as scratch:
        folder = Path(scratch)
        drafted = draft(subject)
        with register_version.packed(drafted, var) as packed:
            tried = replace(_tried(subject, packed), variant=_variant(subject, folder / SECTION))
        for _ in range(_TRIES):
            champion = versions.champion(subject.name, var)
            judged = _judge(subject, champion, tried.figures, folder)
            judged = replace(judged, verdict=with_trial(judged.verdict, tried.differs))
            found = candidate(subject, drafted, judged, tried, champion, folder)
            registered = register_version.register(found, var)
            if not registered.outdated:
                break
    return _receipt(subject, judged.verdict, registered.version)


def _tried(subject: Subject, packed: Path) -> Tried:
    """Load and ask the packed model as a server would. Equal files were tried already: then those figures stand."""
    known = _known(subject)
    told = as_registered(known, subject.job.workspace.var) if known else None
    if told is not None and (serving := told.get("serving")):
        return Tried(serving["figures"], serving["differs"])
    inputs, expected = examples(subject, _TRIED)
    trial = rehearse(packed, inputs, threads=subject.job.section("compute", Compute).threads)
    return Tried(trial.figures, difference(trial, expected))


def _variant(subject: Subject, folder: Path) -> dict[str, Any] | None:
    """The evidence of the model's ONNX variant, made in `folder` unless the version has it; None: nobody wants it."""
    job, known = subject.job, _known(subject)
    if job.section("registry", Registry).onnx == "never":
        return None
    told = kept(known, job.workspace.var) if known else None
    if told is None:
        threads = job.section("compute", Compute).threads
        told = variant(job.settings["task"], job.folder, folder, threads=threads)
    print(f"ONNX: {described(told)}", flush=True)
    return told


def _known(subject: Subject) -> Version | None:
    """The version that has these very files and was tried; what is signed is tried anew: figures may be anybody's."""
    if signing.signing_key() is not None:
        return None
    found = versions.versions(subject.name, subject.job.workspace.var)
    return next((version for version in found if version.model_hash == subject.model_hash), None)


def _judge(subject: Subject, champion: Version | None, figures: Mapping[str, float], folder: Path) -> Judged:
    """The verdict of the gates; what the champion says about these rows is left in `folder` if it was asked."""
    test_hash = rows_hash(read_predictions(subject.predictions))
    claim = Claim(
        task=subject.task,
        primary=subject.primary,
        gates=subject.gates,
        metrics={**subject.measured.values, **slice_metrics(subject.measured, subject.task), **figures},
        predictions=subject.predictions,
        model_hash=subject.model_hash,
        asked=asked(subject.name, test_hash, subject.model_hash, subject.job.workspace.var),
        labels=_labels(subject),
    )
    rival = _rival(subject, champion, folder) if champion else None
    evidence = weigh(claim, rival)
    return Judged(claim, evidence, judge(subject.gates, evidence), rival)


def _labels(subject: Subject) -> dict[str, float]:
    """Each label's figures; none where METRIC[label=X] is a slice by a column that holds something else than labels."""
    says = says_labels(subject.task, subject.measured.slices)
    return label_metrics(subject.predictions, subject.task) if says else {}


def _rival(subject: Subject, champion: Version, folder: Path) -> Rival:
    """The champion with what it says about the test rows: as it was kept, or asked again about rows that it lacks."""
    var = subject.job.workspace.var
    kept = predictions_of(champion, var)
    rival = Rival(called(champion), champion.model_hash, kept)
    same_task = champion.tags.get("task") == subject.job.settings["task"]
    if AGAINST_CHAMPION not in subject.gates or champion.model_hash == subject.model_hash or not same_task:
        return rival
    mine = read_predictions(subject.predictions)
    if kept is not None and covers(read_predictions(kept), mine):
        return rival
    if not (folder / RIVAL).exists():
        _ask_again(subject, champion, mine, folder / RIVAL)
    return replace(rival, predictions=folder / RIVAL)


def _ask_again(subject: Subject, champion: Version, mine: Answered, file: Path) -> None:
    model = versions.packed_folder(champion, subject.job.workspace.var) / versions.MODEL_FILES
    units = subject.units
    said = subject.task.load(model).predict(units, subject.job.folder / "raw")
    answered = Answered(units[ROW_ID].tolist(), mine.truth, said, {})
    write_predictions(answered, file, axes=subject.task.axes(model), readable={})


def _receipt(subject: Subject, verdict: Verdict, version: Version | None) -> dict[str, Any]:
    return {
        "model": subject.name,
        "version": version.version if version else None,
        "run_id": version.run_id if version else None,
        "model_hash": subject.model_hash,
        "verdict": verdict.as_json(),
        "aliases": list(version.aliases) if version else [],
        "approval": version.tags.get(promotion.APPROVAL) if version else None,
        "experiment": version is None,
        "server": server_name(),
    }


def _last_words(subject: Subject, receipt: Mapping[str, Any]) -> Iterator[str]:
    verdict = receipt["verdict"]
    for reason in verdict["reasons"]:
        word = "passed" if reason["passed"] else f"REFUSED ({reason['outcome']})"
        yield f"gate {word}: {reason_line(reason)}"
    more = subject.task.metrics[subject.primary]
    simple = subject.task.simple
    if remark := baseline_line(subject.measured, subject.primary, more_is_better=more, simple=simple):
        yield remark
    if receipt["experiment"]:
        yield f"{subject.name}: an experiment, nothing registered; gates {'passed' if verdict['passed'] else 'refused'}"
        return
    named = "".join(f" @{alias}" for alias in receipt["aliases"])
    yield f"{subject.name} version {receipt['version']}{named}: gates {'passed' if verdict['passed'] else 'refused'}"
