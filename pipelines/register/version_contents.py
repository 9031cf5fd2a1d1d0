"""What a version keeps: the model with examples, its evidence, its card, and the files that say how it was made."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from core.atomic_files import read_json, sha256_file, write_json
from core.schema.columns import ROW_ID, Contract
from core.schema.evaluation import SERVING, Registry
from core.schema.reading import read_document
from core.tables.predictions import read_answers
from core.tables.task import as_sent
from core.workspace import Job
from pipelines.evidence.evidence import BUNDLE, RIVAL, bundle
from pipelines.evidence.provenance import hashes, lock_entries, patch
from pipelines.evidence.row_counts import row_counts
from pipelines.media.decoding import RULE
from pipelines.media.sound_decoding import SOUND_RULE
from pipelines.register.subject import Judged, Subject, Tried
from registry.promotion.card import Facts, card, with_signer
from registry.promotion.measured import METRICS, REPORT
from registry.store import signing, versions
from registry.store.versions import Version
from registry.version.evidence_files import CODE, FILES, LOCK, PATCH, RECIPE, RECIPE_LOCK, SETTINGS, hashes_of
from registry.version.onnx_choice import SECTION, described
from registry.version.packing import Contents
from registry.version.runs import CARD, Candidate, Draft

_KEPT = ("predictions.parquet", METRICS, REPORT, "report.md", "serving.json", "plots")
_EXAMPLES = 2  # inputs kept with a version
_FILES = {"image": f"pictures: {RULE}", "audio": f"sounds: {SOUND_RULE}"}  # how what a version takes is read


def draft(subject: Subject) -> Draft:
    """What the version will hold, before it is judged."""
    job, contract = subject.job, subject.job.section("examples", Contract)
    inputs, answers = examples(subject, _EXAMPLES)
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
            optional=tuple(name for name in inputs.columns if not contract.columns[name].filled),
        ),
        history=read_json(job.folder / "model" / "history.json"),
        params={f"model.{key}": str(value) for key, value in job.settings["model"].items()},
    )


def candidate(
    subject: Subject, draft: Draft, judged: Judged, tried: Tried, champion: Version | None, folder: Path
) -> Candidate:
    """The version as it is judged, with all that it keeps; what is written for it lies in `folder`."""
    job = subject.job
    origin = {"task": job.settings["task"], **hashes(job)}
    told = bundle(judged.claim, judged.verdict, judged.evidence, name=subject.name, origin=origin, rival=judged.rival)
    kept_files = _kept_files(job, folder, signed_card(_facts(subject, judged, tried, origin)))
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
    contract = subject.job.section("examples", Contract)
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
        inputs=contract.inputs,
        simple=subject.task.simple,
        asked=judged.claim.asked,
        rows=None if counts is None else counts.line(),
        serving={name: judged.claim.metrics[name] for name in SERVING if name in judged.claim.metrics},
        variant=None if tried.variant is None else described(tried.variant),
        files=_FILES.get(contract.media or ""),
        title=_title(subject.job),
    )


def _title(job: Job) -> str:
    """As the recipe says it, which settings.json does not; "" where the recipe is not here any more."""
    if not job.settings_file.is_file():
        return ""
    return str(read_document(job.settings_file).values.get("title") or "")


def signed_card(facts: Facts) -> str:
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


def examples(subject: Subject, count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A few test inputs as a caller would send them (texts, or files in base64), and what the evaluation answered."""
    contract = subject.job.section("examples", Contract)
    expected = read_answers(subject.predictions, count)
    inputs = as_sent(subject.units.set_index(ROW_ID).loc[expected[ROW_ID]], contract)
    if contract.media_sent is not None:
        files = [subject.job.folder / "raw" / path for path in inputs[contract.file]]
        coded = [base64.b64encode(file.read_bytes()).decode("ascii") for file in files]
        inputs = inputs.assign(**{str(contract.file): coded})
    return inputs, expected.drop(columns=ROW_ID)
