"""publish: chunks/ + vectors/ -> a release: built beside the live one, judged, and made live when the gates let it.

Writes evaluation/ and published.json, a receipt. A release that a gate refuses leaves the live one alone. Safe to
repeat. An experiment (`dvc exp run`) is judged and publishes nothing, and its receipt says so.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from pydantic import TypeAdapter

from core.atomic_files import replacing, write_json
from core.manifest import write_manifest
from core.patience import patiently
from core.schema.evaluation import AGAINST_LIVE, Gate
from core.workspace import Job
from pipelines.driver import FORCED
from pipelines.evidence import judged_releases
from pipelines.publish.completeness import with_completeness
from pipelines.publish.judging import judge
from pipelines.search.ask.query import int8_of
from pipelines.search.ask.question_vectors import Remembered
from pipelines.search.engine.choice import choose
from pipelines.search.engine.copies import UNREAD_FIRST
from pipelines.search.engine.embedded import Edge
from pipelines.search.engine.engine import Engine, Missing
from pipelines.search.engine.release_files import Versions
from pipelines.search.engine.release_log import record
from pipelines.search.engine.releases import Truth, build, read_truth, receipt, release, unread_of
from pipelines.search.vectors.embedder import QUANTISED
from registry.promotion.gate import CONFIDENCE, Verdict
from registry.promotion.gate import judge as verdict_of

_VECTORS = "vectors.parquet"
_NAMED = 5  # documents that could not be read, in the receipt


def run(job: Job) -> None:
    """Make an index's passages searchable."""
    truth = read_truth(job)
    experiment = bool(os.environ.get("DVC_EXP_NAME"))
    with _engine(job, experiment=experiment) as engine:
        _keep_int8(job, truth)
        patiently(lambda: build(truth, engine))
        verdict = _judged(job, truth, engine)
        if not experiment:
            judged_releases.keep(job, truth.version, truth.facts)
            live = patiently(lambda: _put(job, truth, engine, verdict))
        said = receipt(truth, choose(job.workspace) if experiment else engine)
    named = [{name: each[name] for name in ("document", "reason")} for each in unread_of(job)[:_NAMED]]
    more: dict[str, Any] = {"experiment": True} if experiment else {"withdrawn": verdict.passed and not live}
    published = not experiment and live
    write_json(
        job.folder / "published.json",
        {**said, UNREAD_FIRST: named, **more, "published": published, "verdict": verdict.as_json()},
    )


def _keep_int8(job: Job, truth: Truth) -> None:
    """Questions to this release go through its int8 model, whatever vectors/ holds by then."""
    made, method = job.folder / "vectors" / QUANTISED, truth.facts["embedder"]["method"]
    kept = int8_of(method, job.workspace) / QUANTISED
    if made.is_file() and not kept.is_file():
        with replacing(kept.parent.parent) as folder:
            shutil.copytree(made.parent, folder / kept.parent.name)


def _judged(job: Job, truth: Truth, engine: Engine) -> Verdict:
    """Ask the built version the queries, write evaluation/, and say what the gates say."""
    gates = TypeAdapter(Mapping[str, Gate]).validate_python(job.settings["gates"])
    against = gates.get(AGAINST_LIVE)
    confidence = CONFIDENCE if against is None or against.confidence is None else against.confidence
    remembered = Remembered.read(job.folder / "evaluation" / _VECTORS)
    judgement = patiently(lambda: judge(job, truth, engine, confidence, remembered))
    verdict = _complete(truth, engine, verdict_of(gates, judgement.evidence))
    with replacing(job.folder / "evaluation") as folder:
        judgement.write(folder)
        remembered.write(folder / _VECTORS)
        write_json(folder / "verdict.json", verdict.as_json())
        write_manifest(folder, {"version": truth.version})
    return verdict


def _complete(truth: Truth, engine: Engine, verdict: Verdict) -> Verdict:
    """The verdict, refused when the release leaves out too many documents and nobody said that it is meant."""
    live = engine.pointers(truth.index).live
    if os.environ.get(FORCED) == "publish" or live == truth.version:
        return verdict
    try:
        with engine.reading(truth.index) if live else nullcontext() as release:
            return with_completeness(verdict, truth.facts, release, truth.index)
    except Missing:  # the live one is lost: there is nothing to lose by another
        return with_completeness(verdict, truth.facts, None, truth.index)


def _put(job: Job, truth: Truth, engine: Engine, verdict: Verdict) -> bool:
    """Make the version live, unless a gate refused it or a person took it out of service. Returns whether it is."""
    before = engine.pointers(truth.index)
    if verdict.passed and before.withdrawn != truth.version:
        release(truth, engine)
        if before.live != truth.version:
            record(job.workspace, truth.index, "published", before.live, truth.version)
    elif not verdict.passed:
        record(job.workspace, truth.index, "refused", before.live, truth.version)
        engine.prune(truth.index)
    return engine.pointers(truth.index).live == truth.version


@contextmanager
def _engine(job: Job, *, experiment: bool) -> Iterator[Engine]:
    """The engine; for an experiment one of its own, which goes with it."""
    if not experiment:
        yield choose(job.workspace)
        return
    folder = job.folder / ".experiment"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield Edge(Versions(folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
