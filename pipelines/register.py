"""register: model/, evaluation/ and the champion -> a verdict, a version in the registry, registered.json.

A gate that refuses is a result: the version is kept with its reasons and the stage succeeds. In `dvc exp run` the
gates are asked and nothing is registered.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from pipelines.comparison import Yardstick, against_baseline, against_champion
from pipelines.patience import patiently
from pipelines.prepared import read_rows
from pipelines.provenance import hashes, lock_entries
from pipelines.schema.evaluation import Gate, Registry
from pipelines.stage import stage_main
from pipelines.task import Task, find_task
from pipelines.workspace import Job, read_json, require_whole, sha256_json, write_json
from registry import store, versions
from registry.card import Facts, baseline_line, card
from registry.connection import server_name
from registry.gate import AGAINST_BASELINE, AGAINST_CHAMPION, CONFIDENCE, Evidence, NoRival, Paired, Verdict, judge
from registry.packing import Contents
from registry.runs import Candidate

if TYPE_CHECKING:
    import pandas as pd

_EVIDENCE = ("predictions.parquet", "metrics.json", "report.md", "report.json", "serving.json", "plots")
_EXAMPLES = 2  # inputs kept with a version
_TRIES = 3  # judgements, while others move the champion of a shared server


@dataclass(frozen=True)
class Subject:
    """What is being registered."""

    job: Job
    name: str
    task: Task
    model_hash: str
    metrics: Mapping[str, Any]
    gates: Mapping[str, Gate]
    primary: str

    @property
    def predictions(self) -> Path:
        return self.job.folder / "evaluation" / "predictions.parquet"


def run(job: Job) -> None:
    """Judge a recipe's model, register it and move the aliases."""
    subject = _subject(job)
    experiment = "DVC_EXP_NAME" in os.environ
    if experiment:
        verdict = judge(subject.gates, _evidence(subject, versions.champion(subject.name, job.workspace.var)))
        receipt = _receipt(subject, verdict, None)
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
        metrics=read_json(job.folder / "evaluation" / "metrics.json"),
        gates=TypeAdapter(dict[str, Gate]).validate_python(settings["gates"]),
        primary=settings["evaluation"]["primary"],
    )


def _register(subject: Subject) -> dict[str, Any]:
    """Judge and register; again while somebody else moves the champion in between."""
    var = subject.job.workspace.var
    with store.exclusive(var), _kept_files(subject.job) as files:
        for _ in range(_TRIES):
            champion = versions.champion(subject.name, var)
            verdict = judge(subject.gates, _evidence(subject, champion))
            registered = store.register(_candidate(subject, verdict, champion, files), var)
            if not registered.outdated:
                break
    return _receipt(subject, verdict, registered.version)


def _evidence(subject: Subject, champion: versions.Version | None) -> Evidence:
    return Evidence(_finite(subject), _baseline(subject), _champion(subject, champion))


def _finite(subject: Subject) -> dict[str, float]:
    """The metrics that have a value."""
    values = {name: subject.metrics[name]["value"] for name in subject.task.metrics if name in subject.metrics}
    return {name: value for name, value in values.items() if value is not None}


def _baseline(subject: Subject) -> Paired | NoRival:
    by = _yardstick(subject, AGAINST_BASELINE)
    return against_baseline(subject.predictions, by) if by else NoRival("no gate asks", in_order=True)


def _champion(subject: Subject, champion: versions.Version | None) -> Paired | NoRival:
    by = _yardstick(subject, AGAINST_CHAMPION)
    if by is None:
        return NoRival("no gate asks", in_order=True)
    if champion is None:
        return NoRival("there is no champion yet", in_order=True)
    called = f"champion {champion.name}/{champion.version}"
    if champion.model_hash == subject.model_hash:
        return NoRival(f"it is the {called} itself", in_order=True)
    predictions = versions.evidence(champion, versions.PREDICTIONS, subject.job.workspace.var)
    if predictions is None:
        why = f"{called} has no predictions to compare with; promote by hand: `headrace promote`"
        return NoRival(why, in_order=False)
    return against_champion(subject.predictions, predictions, called, by)


def _yardstick(subject: Subject, gate: str) -> Yardstick | None:
    if gate not in subject.gates:
        return None
    confidence = subject.gates[gate].confidence
    return Yardstick(subject.task, subject.primary, CONFIDENCE if confidence is None else confidence)


def _candidate(
    subject: Subject, verdict: Verdict, champion: versions.Version | None, files: Mapping[str, Path]
) -> Candidate:
    job, contract = subject.job, subject.task.contract
    settings = job.settings
    came_from = hashes(job)
    facts = Facts(
        name=subject.name,
        task=settings["task"],
        recipe=job.name,
        primary=subject.primary,
        metrics=subject.metrics,
        verdict=verdict,
        model=settings["model"],
        data=settings["data"],
        hashes={**came_from, "model_hash": subject.model_hash},
        better=subject.task.metrics,
        content=contract.content,
    )
    return Candidate(
        name=subject.name,
        recipe=job.name,
        model_hash=subject.model_hash,
        contents=Contents(
            job.folder / "model", settings["task"], contract.content, contract.media, _example(job, subject.task)
        ),
        verdict=verdict,
        card=card(facts),
        tags={"task": settings["task"], **came_from},
        evidence=files,
        metrics=_finite(subject),
        history=read_json(job.folder / "model" / "history.json"),
        params={f"model.{key}": str(value) for key, value in settings["model"].items()},
        rival=champion.version if champion else None,
        promote=job.section("registry", Registry).promote == "auto",
    )


@contextmanager
def _kept_files(job: Job) -> Iterator[dict[str, Path]]:
    """What a version keeps beside the model: name -> file or folder."""
    files = {name: job.folder / "evaluation" / name for name in _EVIDENCE}
    files |= {
        versions.PROFILE: job.folder / "validated" / "profile.json",
        "settings.json": job.folder / "settings.json",
    }
    with TemporaryDirectory(prefix="headrace-") as folder:
        entries = Path(folder) / "dvc-lock.json"
        write_json(entries, lock_entries(job))
        yield {name: path for name, path in {**files, entries.name: entries}.items() if path.exists()}


def _example(job: Job, task: Task) -> pd.DataFrame:
    """A few test inputs as a caller would send them: texts, or files in base64."""
    column = task.contract.content
    rows = read_rows(job.folder / "prepared", "test")[[column]].head(_EXAMPLES).reset_index(drop=True)
    if task.contract.media is None:
        return rows
    files = [job.folder / "raw" / path for path in rows[column]]
    return rows.assign(**{column: [base64.b64encode(file.read_bytes()).decode("ascii") for file in files]})


def _receipt(subject: Subject, verdict: Verdict, version: versions.Version | None) -> dict[str, Any]:
    return {
        "model": subject.name,
        "version": version.version if version else None,
        "run_id": version.run_id if version else None,
        "model_hash": subject.model_hash,
        "verdict": verdict.as_json(),
        "aliases": list(version.aliases) if version else [],
        "experiment": version is None,
        "server": server_name(),
    }


def _last_words(subject: Subject, receipt: Mapping[str, Any]) -> Iterator[str]:
    verdict = receipt["verdict"]
    for reason in verdict["reasons"]:
        value = "no value" if reason["value"] is None else f"{reason['value']:.4f}"
        word = "passed" if reason["passed"] else "REFUSED"
        yield f"gate {word}: {reason['gate']} {value}, bound {reason['bound']} ({reason['why']})"
    more = subject.task.metrics[subject.primary]
    if remark := baseline_line(subject.metrics, subject.primary, more_is_better=more):
        yield remark
    if receipt["experiment"]:
        yield f"{subject.name}: an experiment, nothing registered; gates {'passed' if verdict['passed'] else 'refused'}"
        return
    named = "".join(f" @{alias}" for alias in receipt["aliases"])
    yield f"{subject.name} version {receipt['version']}{named}: gates {'passed' if verdict['passed'] else 'refused'}"


if __name__ == "__main__":
    stage_main("register", run, kind="recipe")
