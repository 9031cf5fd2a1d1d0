"""register: model/, evaluation/ and the champion -> a verdict, a version in the registry, registered.json.

The artifact that would be served is tried in a process of its own before it is judged. A gate that refuses is a
result: the version is kept with its reasons and the stage succeeds. In `dvc exp run` the gates are asked and nothing
is registered.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from core.atomic_files import read_json, sha256_file, sha256_json, write_json
from core.manifest import require_whole
from core.patience import patiently
from core.schema.columns import ROW_ID
from core.schema.evaluation import SERVING, Gate, Registry
from core.schema.model import Compute
from core.schema.reading import read_document
from core.tables.predictions import Answered, covers, read_answers, read_predictions, rows_hash, write_predictions
from core.tables.prepared import ENCODER, read_rows
from core.tables.task import Task, as_sent, says_labels
from core.workspace import Job
from pipelines.evidence.evidence import (
    BUNDLE,
    RIVAL,
    Claim,
    Rival,
    as_registered,
    asked,
    bundle,
    called,
    label_metrics,
    predictions_of,
    review,
    slice_metrics,
    weigh,
)
from pipelines.evidence.provenance import hashes, lock_entries, patch
from pipelines.evidence.row_counts import row_counts
from pipelines.media.decoding import RULE
from pipelines.register.onnx_export import kept, variant
from pipelines.tasks import find_task
from registry.promotion import promotion
from registry.promotion.card import Facts, baseline_line, card, with_signer
from registry.promotion.gate import AGAINST_CHAMPION, Evidence, Verdict, judge, reason_line, with_trial
from registry.promotion.measured import METRICS, REPORT, Measured, read_measured
from registry.store import signing, versions
from registry.store.connection import exclusive, server_name
from registry.store.versions import Version
from registry.version import register_version
from registry.version.evidence_files import CODE, FILES, LOCK, PATCH, RECIPE, RECIPE_LOCK, SETTINGS, hashes_of
from registry.version.onnx_choice import SECTION, described
from registry.version.packing import Contents
from registry.version.runs import CARD, Candidate, Draft
from registry.version.trial import difference, rehearse

_KEPT = ("predictions.parquet", METRICS, REPORT, "report.md", "serving.json", "plots")
_EXAMPLES = 2  # inputs kept with a version
_TRIED = 32  # inputs that the artifact is tried with
_TRIES = 3  # judgements, while others move the champion of a shared server


@dataclass(frozen=True)
class Subject:
    """What is being registered."""

    job: Job
    name: str
    task: Task
    model_hash: str
    measured: Measured
    gates: Mapping[str, Gate]
    primary: str

    @property
    def predictions(self) -> Path:
        return self.job.folder / "evaluation" / "predictions.parquet"

    @cached_property
    def units(self) -> pd.DataFrame:
        """What was evaluated."""
        prepared = self.job.folder / "prepared"
        return self.task.units(read_rows(prepared, "test"), prepared / ENCODER)


@dataclass(frozen=True)
class Judged:
    """A verdict and all that it stands on."""

    claim: Claim
    evidence: Evidence
    verdict: Verdict
    rival: Rival | None


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
        draft = _draft(subject)
        with register_version.packed(draft, var) as packed:
            tried = replace(_tried(subject, packed), variant=_variant(subject, folder / SECTION))
        for _ in range(_TRIES):
            champion = versions.champion(subject.name, var)
            judged = _judge(subject, champion, tried.figures, folder)
            judged = replace(judged, verdict=with_trial(judged.verdict, tried.differs))
            candidate = _candidate(subject, draft, judged, tried, champion, folder)
            registered = register_version.register(candidate, var)
            if not registered.outdated:
                break
    return _receipt(subject, judged.verdict, registered.version)


@dataclass(frozen=True)
class Tried:
    """What the artifact's trial said: figures of serving, and how its answers differ from the evaluation's, if so.

    variant: the evidence of its ONNX variant, where the recipe asks for one.
    """

    figures: Mapping[str, float]
    differs: str | None
    variant: Mapping[str, Any] | None = None


def _tried(subject: Subject, packed: Path) -> Tried:
    """Load and ask the packed model as a server would. Equal files were tried already: then those figures stand."""
    known = _known(subject)
    told = as_registered(known, subject.job.workspace.var) if known else None
    if told is not None and (serving := told.get("serving")):
        return Tried(serving["figures"], serving["differs"])
    inputs, expected = _examples(subject, _TRIED)
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


def _draft(subject: Subject) -> Draft:
    job, contract = subject.job, subject.task.contract
    inputs, answers = _examples(subject, _EXAMPLES)
    return Draft(
        name=subject.name,
        recipe=job.name,
        model_hash=subject.model_hash,
        contents=Contents(
            job.folder / "model",
            job.settings["task"],
            tuple(inputs.columns),
            contract.media_sent,
            inputs,
            answers,
            optional=tuple(name for name in inputs.columns if not contract.columns[name].required),
        ),
        history=read_json(job.folder / "model" / "history.json"),
        params={f"model.{key}": str(value) for key, value in job.settings["model"].items()},
    )


def _candidate(
    subject: Subject, draft: Draft, judged: Judged, tried: Tried, champion: Version | None, folder: Path
) -> Candidate:
    job = subject.job
    origin = {"task": job.settings["task"], **hashes(job)}
    told = bundle(judged.claim, judged.verdict, judged.evidence, name=subject.name, origin=origin, rival=judged.rival)
    kept_files = _kept_files(job, folder, _card(_facts(subject, judged, tried, origin)))
    onnx = {} if tried.variant is None else {SECTION: tried.variant}
    serving = {"figures": tried.figures, "differs": tried.differs}
    write_json(folder / BUNDLE, {**told, "serving": serving, **onnx, FILES: hashes_of(kept_files)})
    tags = {**origin, versions.EVIDENCE_HASH: sha256_file(folder / BUNDLE), versions.TEST_HASH: told["test"]["hash"]}
    return Candidate(
        **{field: getattr(draft, field) for field in Draft.__dataclass_fields__},
        verdict=judged.verdict,
        card=kept_files[CARD].read_text(encoding="utf-8"),
        tags=tags,
        evidence={**kept_files, BUNDLE: folder / BUNDLE},
        metrics={name: judged.claim.metrics[name] for name in subject.task.metrics if name in judged.claim.metrics},
        rival=champion.version if champion else None,
        promote=job.section("registry", Registry).promote == "auto",
        approval=job.section("registry", Registry).promote == "approval",
    )


def _facts(subject: Subject, judged: Judged, tried: Tried, origin: Mapping[str, str]) -> Facts:
    settings, counts = subject.job.settings, row_counts(subject.job.folder)
    return Facts(
        name=subject.name,
        task=settings["task"],
        recipe=subject.job.name,
        primary=subject.primary,
        measured=subject.measured,
        verdict=judged.verdict,
        model=settings["model"],
        data=settings["data"],
        hashes={**{key: value for key, value in origin.items() if key != "task"}, "model_hash": subject.model_hash},
        better=subject.task.metrics,
        inputs=subject.task.contract.inputs,
        simple=subject.task.simple,
        asked=judged.claim.asked,
        rows=None if counts is None else counts.line(),
        serving={name: judged.claim.metrics[name] for name in SERVING if name in judged.claim.metrics},
        variant=None if tried.variant is None else described(tried.variant),
        pictures=RULE if subject.task.contract.media == "image" else None,
        title=_title(subject.job),
    )


def _title(job: Job) -> str:
    """As the recipe says it, which settings.json does not; "" where the recipe is not here any more."""
    if not job.settings_file.is_file():
        return ""
    return str(read_document(job.settings_file).values.get("title") or "")


def _card(facts: Facts) -> str:
    """The model card; it says with which key the version is signed."""
    key = signing.signing_key()
    return card(facts) if key is None else with_signer(card(facts), key.fingerprint)


def _kept_files(job: Job, folder: Path, card_text: str) -> dict[str, Path]:
    """What a version keeps beside the model and evidence.json, which has a hash of each: name -> file or folder."""
    (folder / CARD).write_text(card_text, encoding="utf-8")
    write_json(folder / LOCK, lock_entries(job))
    if difference_to_head := patch(job.workspace.root):
        (folder / PATCH).write_text(difference_to_head, encoding="utf-8", errors="surrogateescape")
    files = {
        **{name: job.folder / "evaluation" / name for name in _KEPT},
        versions.PROFILE: job.folder / "validated" / "profile.json",
        SETTINGS: job.folder / SETTINGS,
        RECIPE: job.settings_file,
        RECIPE_LOCK: job.lock_file,
        "requirements.lock": job.workspace.root / "requirements.lock",
        CODE: job.workspace.root / "data" / CODE,
        **{name: folder / name for name in (CARD, LOCK, PATCH, RIVAL, SECTION)},
    }
    return {name: path for name, path in files.items() if path.exists()}


def _examples(subject: Subject, count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A few test inputs as a caller would send them (texts, or files in base64), and what the evaluation answered."""
    contract, expected = subject.task.contract, read_answers(subject.predictions, count)
    inputs = as_sent(subject.units.set_index(ROW_ID).loc[expected[ROW_ID]], contract)
    if contract.media_sent is not None:
        files = [subject.job.folder / "raw" / path for path in inputs[contract.file]]
        coded = [base64.b64encode(file.read_bytes()).decode("ascii") for file in files]
        inputs = inputs.assign(**{str(contract.file): coded})
    return inputs, expected.drop(columns=ROW_ID)


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
