"""Evidence that is missing, edited, of something else or says nothing: no promotion, and each has its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.atomic_files import sha256_file
from core.schema.evaluation import Gate
from core.tables.predictions import Answered, axis_names, read_predictions, write_predictions
from core.tables.statistics import whole
from pipelines.evidence.comparison import Yardstick, against_champion
from pipelines.evidence.evidence import BUNDLE, Claim, Rival, asked, bundle, label_metrics, review, slice_metrics, weigh
from pipelines.tasks import find_task
from registry.promotion import journal, promotion
from registry.promotion.gate import NoRival, Paired, judge
from registry.promotion.measured import measured
from registry.store import versions
from registry.store.connection import connect, exclusive
from registry.version import register_version
from registry.version.runs import Candidate
from tests.small_model import aliases, candidate, make_small_model

pytestmark = pytest.mark.slow

ROWS = 200
TASK = find_task("text_classification")
TRUTH = np.arange(ROWS) % 2
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [make_small_model(folder / str(seed), seed=seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One store; each test registers under a name of its own."""
    return tmp_path_factory.mktemp("store") / "var"


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:80]


def answers(right: int, sure: float = 0.9) -> np.ndarray:
    """Probabilities that are right on the first rows."""
    chosen = np.where(np.arange(ROWS) < right, TRUTH, 1 - TRUTH)
    return np.where(np.arange(2) == chosen[:, None], sure, 1 - sure)


def evident(
    model: Path, folder: Path, var: Path, name: str, *, right: int, gates: dict[str, Gate], first: int = 0,
    task: str = "text_classification", **about: Any,
) -> Candidate:  # fmt: skip
    """A candidate with evidence as `register` writes it. first: number of its first test row. task: as it says it."""
    folder.mkdir()
    predictions = folder / versions.PREDICTIONS
    answered = Answered(
        [f"row-{at}" for at in range(first, first + ROWS)], {"label": TRUTH}, {"probabilities": answers(right)}, {}
    )
    write_predictions(answered, predictions, axes={"probabilities": ["neg", "pos"]}, readable={})
    subject = replace(candidate(model, folder, **about), name=name)
    metrics = whole(TASK.score, TASK.measure({**answered.model, **answered.truth}))
    labels = label_metrics(predictions, TASK)
    claim = Claim(TASK, "accuracy", gates, metrics, predictions, subject.model_hash, 1, labels)
    evidence = weigh(claim, None)
    told = bundle(claim, judge({}, evidence), evidence, name=name, origin={"task": task}, rival=None)
    (folder / BUNDLE).write_text(json.dumps(told))
    tags = {versions.EVIDENCE_HASH: sha256_file(folder / BUNDLE), versions.TEST_HASH: told["test"]["hash"]}
    return replace(subject, evidence={path.name: path for path in sorted(folder.iterdir())}, tags=tags)


def register(subject: Candidate, var: Path) -> versions.Version:
    with exclusive(var):
        return register_version.register(subject, var).version


def judge_in(var: Path) -> promotion.Judge:
    return lambda version, champion: review(version, champion, var)


FLOOR = {"accuracy": Gate(at_least=0.8)}
BETTER = {"against_champion": Gate(at_least=0.0)}
NO_WORSE = {"against_champion": Gate(at_least=-0.005)}


def test_sound_evidence_promotes(models: list[Path], tmp_path: Path, var: Path, name: str) -> None:
    register(evident(models[0], tmp_path / "1", var, name, right=150, gates=BETTER, promote=False), var)
    register(evident(models[1], tmp_path / "2", var, name, right=190, gates=BETTER, promote=False), var)
    promotion.promote(name, "1", var, judge_in(var))
    promotion.promote(name, "2", var, judge_in(var))
    assert aliases(name, var)["champion"] == "2"
    last = journal.read(connect(var), name).last
    assert last is not None
    assert "passed  against_champion" in last.why[0]


@pytest.mark.parametrize(
    ("right", "gates", "reason"),
    [
        (150, BETTER, "TIE  against_champion: 0.0000.*answers as champion .*/1 does"),
        (150, NO_WORSE, "TIE  against_champion"),
        (152, BETTER, "UNDECIDED  against_champion.*these rows do not show it"),
        (148, NO_WORSE, "UNDECIDED  against_champion"),
        (100, NO_WORSE, "FAILED  against_champion.*worse than the bound allows"),
        (150, FLOOR, "FAILED  accuracy: 0.7500, bound at least 0.8"),
        (190, {"f_half": Gate(at_least=0.1)}, "NO EVIDENCE  f_half: no value.*no such metric"),
        (190, {"peak_memory_mb": Gate(at_most=9000)}, "NO EVIDENCE  peak_memory_mb"),
    ],
)
def test_a_claim_that_its_own_evidence_does_not_bear_out(
    models: list[Path], tmp_path: Path, var: Path, champion: str, right: int, gates: dict[str, Gate], reason: str
) -> None:
    register(evident(models[1], tmp_path / "2", var, champion, right=right, gates=gates, promote=False), var)
    with pytest.raises(promotion.Refused, match=reason):
        promotion.promote(champion, "2", var, judge_in(var))
    assert aliases(champion, var)["champion"] == "1"


@pytest.fixture(scope="module")
def champion(models: list[Path], tmp_path_factory: pytest.TempPathFactory, var: Path) -> str:
    """A model whose version 1, right on 150 of 200 rows, is champion."""
    folder = tmp_path_factory.mktemp("champion") / "1"
    register(evident(models[0], folder, var, "claims", right=150, gates={}), var)
    return "claims"


def put(*keys: str, value: Any) -> Change:
    """Set what stands at keys of the bundle."""

    def change(told: dict[str, Any]) -> None:
        for key in keys[:-1]:
            told = told[key]
        told[keys[-1]] = value

    return change


REGISTERED_SO: dict[str, tuple[Change, str]] = {
    "NaN": (put("metrics", "accuracy", value=float("nan")), "holds NaN, which is no number"),
    "infinity": (put("metrics", "accuracy", value=float("inf")), "holds Infinity, which is no number"),
    "minus infinity": (put("metrics", "log_loss", value=float("-inf")), "holds -Infinity, which is no number"),
    "a metric that is better than it was": (put("metrics", "accuracy", value=0.999), "says accuracy 0.999, its predic"),
    "another split": (put("test", "split", value="train"), "of other rows than the test split"),
    "a bound that is no number": (put("gates", "accuracy", value={"at_least": "high"}), "a gate of its evidence is"),
    "a gate without a bound": (put("gates", "accuracy", value={}), "a gate of its evidence is none"),
    "a bound that is NaN": (put("gates", "accuracy", value={"at_least": float("nan")}), "holds NaN"),
    "no gates at all": (lambda told: told.pop("gates"), "cannot be read"),
    "a label that is better than it was": (put("labels", "f1[label=pos]", value=0.999), "says f1[label=pos] 0.999,"),
    "a label that is none": (put("labels", "f1[label=new]", value=1.0), "says f1[label=new] 1.0, its predictions nan"),
    "no task": (put("origin", value={}), "cannot be read"),
    "another version's": (put("model", "model_hash", value="f" * 64), "that of another version"),
    "another model's": (put("model", "name", value="other"), "that of another version"),
    "other predictions": (put("predictions", value="f" * 64), "its predictions are not those that were judged"),
    "a stale test hash": (put("test", "hash", value="f" * 64), "its predictions are of other rows"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(models: list[Path], tmp_path_factory: pytest.TempPathFactory, var: Path) -> versions.Version:
    """A version with sound evidence."""
    folder = tmp_path_factory.mktemp("sound") / "1"
    gates = {"accuracy": Gate(at_least=0.5)}
    return register(evident(models[1], folder, var, "sound", right=190, gates=gates, promote=False), var)


@pytest.mark.parametrize("what", REGISTERED_SO)
def test_a_bundle_that_was_registered_so_is_not_believed(sound: versions.Version, var: Path, what: str) -> None:
    """The hash fits, as if `register` itself had written it."""
    change, reason = REGISTERED_SO[what]
    file = artifact(sound, BUNDLE, var)
    before = file.read_text()
    told = json.loads(before)
    change(told)
    file.write_text(json.dumps(told))
    tags = {**sound.tags, versions.EVIDENCE_HASH: sha256_file(file), versions.TEST_HASH: told["test"]["hash"]}
    try:
        verdict = review(replace(sound, tags=tags), None, var)
    finally:
        file.write_text(before)
    assert not verdict.passed
    assert reason in str(verdict.reasons[0])
    assert review(sound, None, var).passed


def artifact(version: versions.Version, file: str, var: Path) -> Path:
    found = versions.evidence(version, file, var)
    assert found is not None
    return found


def edit(path: Path) -> None:
    path.write_text(path.read_text().replace('"asked": 1', '"asked": 2'))


def edit_with_tag(version: versions.Version, var: Path) -> None:
    path = artifact(version, BUNDLE, var)
    edit(path)
    connect(var).set_model_version_tag(version.name, version.version, versions.EVIDENCE_HASH, sha256_file(path))


def swap_predictions(version: versions.Version, var: Path) -> None:
    path = artifact(version, versions.PREDICTIONS, var)
    told = read_predictions(path)
    better = replace(told, model={"probabilities": answers(ROWS)})
    write_predictions(better, path, axes={"probabilities": ["neg", "pos"]}, readable={})


EDITED_LATER: dict[str, tuple[Callable[[versions.Version, Path], object], str]] = {
    "edited": (lambda version, var: edit(artifact(version, BUNDLE, var)), "its evidence was edited"),
    "edited, and its tag": (edit_with_tag, "the ledger knows other evidence of it"),
    "removed": (lambda version, var: artifact(version, BUNDLE, var).unlink(), "it has no evidence"),
    "predictions swapped": (swap_predictions, "its predictions are not those that were judged"),
    "predictions removed": (
        lambda version, var: artifact(version, versions.PREDICTIONS, var).unlink(),
        "its predictions are not those that were judged",
    ),
    "test hash": (
        lambda version, var: connect(var).set_model_version_tag(version.name, "1", versions.TEST_HASH, "f" * 64),
        "of other rows than the test split",
    ),
}


@pytest.mark.parametrize("what", EDITED_LATER)
def test_a_bundle_that_was_edited_later_is_not_believed(
    models: list[Path], tmp_path: Path, var: Path, name: str, what: str
) -> None:
    act, reason = EDITED_LATER[what]
    version = register(evident(models[0], tmp_path / "1", var, name, right=190, gates=FLOOR, promote=False), var)
    act(version, var)
    with pytest.raises(promotion.Refused, match=reason):
        promotion.promote(name, "1", var, judge_in(var))
    assert "champion" not in aliases(name, var)


def test_evidence_of_another_version_put_in_its_place(models: list[Path], tmp_path: Path, var: Path, name: str) -> None:
    good = register(evident(models[0], tmp_path / "1", var, name, right=190, gates=FLOOR, promote=False), var)
    bad = register(evident(models[1], tmp_path / "2", var, name, right=90, gates=FLOOR, promote=False), var)
    for file in (BUNDLE, versions.PREDICTIONS):
        artifact(bad, file, var).write_bytes(artifact(good, file, var).read_bytes())
    client = connect(var)
    client.set_model_version_tag(name, "2", versions.EVIDENCE_HASH, good.tags[versions.EVIDENCE_HASH])
    with pytest.raises(promotion.Refused, match="the ledger knows other evidence of it"):
        promotion.promote(name, "2", var, judge_in(var))
    assert [reason.why for reason in review(versions.resolve(name, "2", var), None, var).reasons] == [
        "its evidence is that of another version"
    ]


def test_models_are_counted_by_the_rows_that_judge_them(
    models: list[Path], tmp_path: Path, var: Path, name: str
) -> None:
    first = register(evident(models[0], tmp_path / "1", var, name, right=190, gates=FLOOR, promote=False), var)
    test_hash = first.tags[versions.TEST_HASH]
    assert asked(name, test_hash, str(first.model_hash), var) == 1
    assert asked(name, test_hash, "of another model", var) == 2
    assert asked(name, "other rows", "of another model", var) == 1


def test_slices_of_either_form_can_be_gated() -> None:
    slices = {"genre": {"war": {"rows": 3, "accuracy": {"value": 0.7}, "log_loss": {"value": None}}}}
    for found in (measured({"accuracy": 0.9}, {"model": {}, "slices": slices}),
                  measured({"accuracy": {"value": 0.9}, "slices": slices}, {})):  # fmt: skip
        assert slice_metrics(found, TASK) == {"accuracy[genre=war]": 0.7}


def test_an_earlier_gate_on_macro_f1_of_a_label_keeps_its_verdict_and_a_label_has_figures(
    models: list[Path], tmp_path: Path, var: Path, name: str
) -> None:
    """The first as an earlier Headrace registered it: with its slices among the metrics, and without labels."""
    version = register(evident(models[0], tmp_path / "1", var, name, right=190, gates=FLOOR, promote=False), var)
    file = artifact(version, BUNDLE, var)
    told = json.loads(file.read_text())
    told["metrics"]["macro_f1[label=pos]"] = 0.47
    for bound, passed in ((0.4, True), (0.5, False)):
        gates = {"macro_f1[label=pos]": {"at_least": bound}}
        file.write_text(json.dumps({**told, "labels": {}, "gates": gates}))
        tags = {**version.tags, versions.EVIDENCE_HASH: sha256_file(file)}
        assert review(replace(version, tags=tags), None, var).passed is passed
    for figure, bound, passed in (("f1", 0.9, True), ("recall", 0.99, False), ("precision", 0.9, True)):
        gates = {f"{figure}[label=pos]": {"at_least": bound}}
        file.write_text(json.dumps({**told, "gates": gates}))
        tags = {**version.tags, versions.EVIDENCE_HASH: sha256_file(file)}
        assert review(replace(version, tags=tags), None, var).passed is passed


@pytest.mark.parametrize("labels", [2, 300])
def test_labels_of_any_spelling_are_compared_by_name_however_many_there_are(tmp_path: Path, labels: int) -> None:
    """The champion knows the same labels but one, so its columns stand elsewhere; a gate on one of them is judged."""
    names = sorted(["$_{x}^2$\n", *(f"label {at}" for at in range(labels - 1))])
    truth = np.arange(600) % labels
    files = {}
    for who, own in (("candidate", names), ("champion", [*names[1:], "another"])):
        place = {name: at for at, name in enumerate(own)}
        right = np.array([place.get(names[at], -1) for at in truth])
        said = np.eye(len(own))[right]
        files[who] = tmp_path / who
        answered = Answered([str(row) for row in range(600)], {"label": truth}, {"probabilities": said}, {})
        write_predictions(answered, files[who], axes={"probabilities": own}, readable={})
        assert axis_names(files[who]) == {"probabilities": own}
    found = label_metrics(files["candidate"], TASK)
    assert found["f1[label=$_{x}^2$\n]"] == 1.0 and len(found) == 3 * labels
    rival = against_champion(files["candidate"], files["champion"], "champion", Yardstick(TASK, "accuracy", 0.95))
    assert isinstance(rival, Paired)
    assert rival.better_by == pytest.approx((truth == 0).mean())


def test_wide_answers_that_an_earlier_headrace_left_without_names_are_not_compared_by_guess(tmp_path: Path) -> None:
    truth = np.arange(400) % 100
    for who, classes in (("candidate", 100), ("champion", 99)):
        said = np.eye(classes)[np.minimum(truth, classes - 1)]
        answered = Answered([str(row) for row in range(400)], {"label": truth}, {"probabilities": said}, {})
        write_predictions(answered, tmp_path / who, axes={}, readable={})
    assert label_metrics(tmp_path / "candidate", TASK) == {}
    rival = against_champion(
        tmp_path / "candidate", tmp_path / "champion", "films/1", Yardstick(TASK, "accuracy", 0.95)
    )
    assert rival == NoRival("films/1 has other probabilities, and does not say which", in_order=False)
    again = against_champion(
        tmp_path / "candidate", tmp_path / "candidate", "itself", Yardstick(TASK, "accuracy", 0.95)
    )
    assert isinstance(again, Paired) and again.better_by == 0


def test_a_champion_without_predictions_is_no_evidence(tmp_path: Path) -> None:
    claim = Claim(TASK, "accuracy", BETTER, {}, tmp_path, "m", 1)
    [reason] = judge(BETTER, weigh(claim, Rival("champion films/1", "other", None))).reasons
    assert (reason.outcome, reason.why) == ("no evidence", "champion films/1 has no predictions to compare with")
