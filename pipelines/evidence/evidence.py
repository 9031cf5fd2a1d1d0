"""What speaks for a version: its predictions and metrics against the gates, as a bundle that can be judged again.

`register` writes the bundle; a promotion reads it back, believes nothing that the predictions do not show, and judges
against the champion of that moment.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from core.atomic_files import sha256_file
from core.schema.evaluation import Gate
from core.tables.predictions import Answered, axis_names, read_predictions, rows_hash
from core.tables.statistics import whole
from core.tables.task import ByLabel, Predictions, Task
from pipelines.evidence.by_label import whole_by_label
from pipelines.evidence.comparison import Yardstick, against_baseline, against_champion
from pipelines.tasks import find_task
from registry.promotion.gate import (
    AGAINST_BASELINE,
    AGAINST_CHAMPION,
    CONFIDENCE,
    Evidence,
    NoRival,
    Paired,
    Verdict,
    judge,
)
from registry.promotion.measured import Measured
from registry.store import signing, versions
from registry.store.versions import Version
from registry.version import evidence_files

BUNDLE = signing.BUNDLE
RIVAL = "champion-predictions.parquet"  # what the champion says about these very rows, where it was asked again
_FORMAT = 1
_ROUNDING = 1e-9  # of a metric that is computed again


class UnsoundError(Exception):
    """The evidence is not what it says; the message says how."""


@dataclass(frozen=True)
class Claim:
    """What is to be judged. metrics: by name, slices as METRIC[COLUMN=VALUE], what serving costs.

    labels: precision, recall and F1 of each label, as METRIC[label=X].
    asked: the how many-th model this is that these test rows judge.
    """

    task: Task
    primary: str
    gates: Mapping[str, Gate]
    metrics: Mapping[str, float]
    predictions: Path
    model_hash: str
    asked: int
    labels: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rival:
    """The champion. predictions: None when it has none that can be compared."""

    called: str
    model_hash: str | None
    predictions: Path | None


def weigh(claim: Claim, champion: Rival | None) -> Evidence:
    """The claim's metrics, and the comparisons that its gates ask for."""
    by = _yardstick(claim, AGAINST_BASELINE)
    baseline = against_baseline(claim.predictions, by) if by else NoRival("no gate asks", in_order=True)
    return Evidence(
        {**claim.labels, **claim.metrics}, {AGAINST_BASELINE: baseline, AGAINST_CHAMPION: _champion(claim, champion)}
    )


def slice_metrics(found: Measured, task: Task) -> dict[str, float]:
    """The metrics of slices that have a value, each under the name that a gate has for it."""
    return {
        f"{metric}[{column}={value}]": measured[metric]["value"]
        for column, values in found.slices.items()
        for value, measured in values.items()
        for metric in task.metrics
        if measured.get(metric, {}).get("value") is not None
    }


def label_metrics(predictions: Path, task: Task) -> dict[str, float]:
    """What the predictions say of each label, under the names that gates have; {} where answers are no labels."""
    together = _together(read_predictions(predictions))
    return _label_metrics(task, together, task.measure(together), predictions)


def _label_metrics(task: Task, together: Predictions, measured: Predictions, file: Path) -> dict[str, float]:
    names = task.label_names(together, axis_names(file)) if isinstance(task, ByLabel) else ()
    return whole_by_label(task, measured, names) if isinstance(task, ByLabel) and names else {}


def _together(answered: Answered) -> Predictions:
    return {**answered.model, **answered.truth}


def bundle(
    claim: Claim, verdict: Verdict, evidence: Evidence, *, name: str, origin: Mapping[str, str], rival: Rival | None
) -> dict[str, Any]:
    """The evidence as it is kept with the version; what cannot be a number in JSON is left out."""
    answered = read_predictions(claim.predictions)
    return {
        "format": _FORMAT,
        "model": {"name": name, "model_hash": claim.model_hash},
        "test": {"hash": rows_hash(answered), "rows": len(answered.row_ids), "split": "test", "asked": claim.asked},
        "predictions": sha256_file(claim.predictions),
        "primary": claim.primary,
        "metrics": {key: value for key, value in sorted(claim.metrics.items()) if math.isfinite(value)},
        "labels": dict(sorted(claim.labels.items())),
        "gates": {key: gate.model_dump(mode="json") for key, gate in sorted(claim.gates.items())},
        "comparisons": {
            "baseline": _told(evidence.rivals[AGAINST_BASELINE]),
            "champion": _told(evidence.rivals[AGAINST_CHAMPION]),
        },
        "champion": rival and asdict(rival) | {"predictions": rival.predictions and sha256_file(rival.predictions)},
        "verdict": verdict.as_json(),
        "origin": dict(origin),
    }


def review(
    candidate: Version, champion: Version | None, var: Path, *, gates: Mapping[str, Gate] | None = None
) -> Verdict:
    """Judge a registered version again, from its own evidence, against the champion there is now.

    gates: by default those that it was registered with. What is missing, edited, of another version or of other rows is
    a reason that refuses.
    """
    try:
        told = _sound(candidate, var)
        claim = _claim(told, candidate, var)
        claim = claim if gates is None else replace(claim, gates=gates)
        return judge(claim.gates, weigh(claim, _rival(candidate, told, champion, var)))
    except UnsoundError as fault:
        return Verdict.refused("evidence", str(fault))


def as_registered(version: Version, var: Path) -> Mapping[str, Any] | None:
    """A version's bundle; None where it has none, or another than was registered."""
    with suppress(evidence_files.Altered):
        return evidence_files.read(version, var).told
    return None


def predictions_of(version: Version, var: Path) -> Path | None:
    """A version's predictions; None where it has none, or others than were judged."""
    with suppress(evidence_files.Altered):
        return evidence_files.recorded(version, versions.PREDICTIONS, var)
    return None


def asked(name: str, test_hash: str, model_hash: str, var: Path) -> int:
    """The how many-th model these test rows judge with this one, by the versions that are registered."""
    found = versions.versions(name, var)
    own = next((version.number for version in found if version.model_hash == model_hash), None)
    earlier = (version for version in found if own is None or version.number < own)
    return 1 + sum(version.tags.get(versions.TEST_HASH) == test_hash for version in earlier)


def _sound(version: Version, var: Path) -> dict[str, Any]:
    """The bundle of a version, when it is the one that was registered, of this model and these predictions."""
    file = versions.evidence(version, BUNDLE, var)
    if file is None:
        raise UnsoundError("it has no evidence: register it again with `headrace run NAME --force register`")
    if sha256_file(file) != version.tags.get(versions.EVIDENCE_HASH):
        raise UnsoundError("its evidence was edited: the hash is not the one that it was registered with")
    keys = signing.trusted_keys()
    if keys and (fault := signing.fault(file, versions.evidence(version, signing.EVIDENCE, var), keys)):
        raise UnsoundError(f"of its evidence, {fault}")
    told = _parsed(file)
    if told["model"] != {"name": version.name, "model_hash": version.model_hash}:
        raise UnsoundError("its evidence is that of another version")
    if told["test"]["split"] != "test" or told["test"]["hash"] != version.tags.get(versions.TEST_HASH):
        raise UnsoundError("its evidence is of other rows than the test split that it was registered with")
    for name, fault in evidence_files.Kept(version, var, told).faults.items():
        if name != versions.PREDICTIONS and not evidence_files.excused(version, name):  # _claim looks at those
            raise UnsoundError(f"of what was registered with it, {name} {fault}")
    return told


def _parsed(file: Path) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise UnsoundError(f"its evidence holds {word}, which is no number")

    try:
        told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"), parse_constant=refuse)
        _ = told["model"], told["test"]["split"], told["test"]["hash"], told["test"]["asked"], told["predictions"]
        _ = (
            told["metrics"].items(),
            told.get("labels", {}).items(),
            told["gates"].items(),
            told["primary"],
            told["origin"]["task"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnsoundError(f"its evidence cannot be read ({error})") from None
    return told


def _claim(told: Mapping[str, Any], version: Version, var: Path) -> Claim:
    """The claim of a bundle, every metric of which was computed again from the predictions."""
    predictions = versions.evidence(version, versions.PREDICTIONS, var)
    if predictions is None or sha256_file(predictions) != told["predictions"]:
        raise UnsoundError(f"its predictions are not those that were judged ({versions.PREDICTIONS})")
    task = find_task(told["origin"]["task"])
    answered = read_predictions(predictions)
    if rows_hash(answered) != told["test"]["hash"]:
        raise UnsoundError("its predictions are of other rows than the test split that it was registered with")
    together = _together(answered)
    measured = task.measure(together)
    scored = whole(task.score, measured)
    for name in task.metrics:
        claimed, found = told["metrics"].get(name), scored.get(name)
        if claimed is not None and not (found is not None and math.isclose(claimed, found, abs_tol=_ROUNDING)):
            raise UnsoundError(f"its evidence says {name} {claimed}, its predictions {found}")
    labels = told.get("labels", {})  # an earlier Headrace knew none
    shown = _label_metrics(task, together, measured, predictions) if labels else {}
    for name in sorted(labels.keys() | shown.keys()):
        claimed, found = labels.get(name, math.nan), shown.get(name, math.nan)
        if not math.isclose(claimed, found, abs_tol=_ROUNDING):
            raise UnsoundError(f"its evidence says {name} {claimed}, its predictions {found}")
    return Claim(
        task, told["primary"], _gates(told["gates"]), told["metrics"], predictions, str(version.model_hash),
        told["test"]["asked"], labels,
    )  # fmt: skip


def _gates(told: Mapping[str, Any]) -> dict[str, Gate]:
    try:
        return TypeAdapter(dict[str, Gate]).validate_python(told)
    except ValidationError as error:
        raise UnsoundError(f"a gate of its evidence is none: {error.errors()[0]['msg']}") from None


def _rival(version: Version, told: Mapping[str, Any], champion: Version | None, var: Path) -> Rival | None:
    if champion is None:
        return None
    file = asked_again(version, told, champion, var) or predictions_of(champion, var)
    return Rival(called(champion), champion.model_hash, file)


def asked_again(version: Version, told: Mapping[str, Any], champion: Version, var: Path) -> Path | None:
    """What the champion of the time said about a version's own test rows, where it was asked about them.

    told: the version's bundle. None where it was not, or where another one was champion.
    """
    again = told.get("champion") or {}
    if again.get("model_hash") != champion.model_hash:
        return None
    file = versions.evidence(version, RIVAL, var)
    return file if file is not None and sha256_file(file) == again.get("predictions") else None


def called(champion: Version) -> str:
    return f"champion {champion.name}/{champion.version}"


def _champion(claim: Claim, rival: Rival | None) -> Paired | NoRival:
    by = _yardstick(claim, AGAINST_CHAMPION)
    if by is None:
        return NoRival("no gate asks", in_order=True)
    if rival is None:
        return NoRival("there is no champion yet", in_order=True)
    if rival.model_hash == claim.model_hash:
        return NoRival(f"it is the {rival.called} itself", in_order=True)
    if rival.predictions is None:
        return NoRival(f"{rival.called} has no predictions to compare with", in_order=False)
    return against_champion(claim.predictions, rival.predictions, rival.called, by)


def _yardstick(claim: Claim, gate: str) -> Yardstick | None:
    if gate not in claim.gates:
        return None
    asks = claim.gates[gate]
    confidence = CONFIDENCE if asks.confidence is None else asks.confidence
    return Yardstick(claim.task, claim.primary, confidence, claim.asked, asks.baseline)


def _told(rival: Paired | NoRival) -> dict[str, Any]:
    """A comparison for JSON: what is no number has no value."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in asdict(rival).items()
    }
