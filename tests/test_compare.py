"""headrace compare: two versions on the rows that both answered, and what of their making differs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binom  # type: ignore[import-untyped]
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from typer.testing import CliRunner

from core.atomic_files import sha256_file
from core.errors import BadRequest
from core.tables.statistics import Interval
from core.workspace import Workspace
from flows.cli.command import app
from flows.terminal.compared_lines import compared_lines
from pipelines.evidence.changes import Made, changes, flat
from pipelines.evidence.compare import compare
from pipelines.evidence.comparison import Common, common_rows
from pipelines.evidence.differences import Apart, apart, says
from pipelines.evidence.evidence import BUNDLE, RIVAL
from registry.store.versions import Version, resolve
from tests.small_model import make_small_model
from tests.test_comparison import LABELS, ROWS, TASK, TRUE, said, write
from tests.test_evidence import evident, register


def measured(first: Path, second: Path, most: int = 10) -> Apart:
    common = common_rows(first, second, "films/1")
    assert isinstance(common, Common)
    return apart(TASK, common, primary="accuracy", most=most)


def test_metrics_and_labels_are_the_second_minus_the_first(tmp_path: Path) -> None:
    """Values by scikit-learn; the ends of the accuracy's interval by the binomial distribution of the six rows."""
    found = measured(write(tmp_path / "1", said(TRUE, 48)), write(tmp_path / "2", said(TRUE, 54)))
    answers = [np.where(np.arange(ROWS) < right, TRUE, 1 - TRUE) for right in (48, 54)]
    one, two = (accuracy_score(TRUE, each) for each in answers)
    accuracy = found.metrics[0]
    assert (accuracy.name, accuracy.first, accuracy.second) == ("accuracy", one, two)
    assert accuracy.difference.value == pytest.approx(two - one)
    low, high = binom.ppf([0.025, 0.975], ROWS, 6 / ROWS) / ROWS
    assert accuracy.difference.low == pytest.approx(low, abs=1.01 / ROWS)
    assert accuracy.difference.high == pytest.approx(high, abs=1.01 / ROWS)
    assert {each.name: each.says for each in found.metrics} == {
        "accuracy": "better", "macro_f1": "better", "log_loss": "better", "calibration_error": "undecided",
    }  # fmt: skip
    figures = [precision_recall_fscore_support(TRUE, each) for each in answers]
    for at, label in enumerate(found.labels):
        assert (label.label, label.support) == (LABELS[at], 30)
        for number, name in enumerate(("precision", "recall", "f1")):
            assert label.figures[name][:2] == pytest.approx([each[number][at] for each in figures])
            difference = label.figures[name][2]
            assert difference.low <= difference.value <= difference.high


def test_rows_that_differ_the_surest_first(tmp_path: Path) -> None:
    """The second mends rows 48 to 53 and breaks none; where both are wrong alike, nothing differs."""
    second = said(TRUE, 54)
    second["probabilities"][50] = np.where(np.arange(2) == TRUE[50], 0.99, 0.01)
    found = measured(write(tmp_path / "1", said(TRUE, 48)), write(tmp_path / "2", second), most=2).rows_apart
    assert found is not None
    assert (found.count, found.nearer) == (6, (0, 6))
    surest, next_one = found.shown
    assert surest.row_id == "row-0050" and surest.true == LABELS[TRUE[50]]
    assert (surest.first.said, surest.first.error) == (LABELS[1 - TRUE[50]], 1.0)
    assert (surest.second.said, surest.second.error, surest.second.sure) == (LABELS[TRUE[50]], 0.0, 0.99)
    assert next_one.row_id == "row-0048"


def test_a_label_that_only_one_knows_has_no_precision_of_the_other(tmp_path: Path) -> None:
    three, labels = ["mixed", "neg", "pos"], np.arange(ROWS) % 3
    known = np.where(labels == 0, 0, labels - 1)
    first = write(tmp_path / "1", said(known, ROWS), labels=known)
    second = write(tmp_path / "2", said(labels, ROWS, classes=3), labels=labels, names=three)
    mixed = next(each for each in measured(first, second).labels if each.label == "mixed")
    assert np.isnan(mixed.figures["precision"][0]) and mixed.figures["precision"][1] == 1.0
    assert (mixed.figures["recall"][0], mixed.figures["recall"][1]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("low", "high", "more", "verdict"),
    [
        (0.01, 0.2, True, "better"),
        (0.01, 0.2, False, "worse"),
        (-0.2, -0.1, False, "better"),
        (0, 0.2, True, "undecided"),
        (0, 0, True, "equal"),
        (np.nan, np.nan, True, "undecided"),
    ],
)
def test_what_an_interval_says(low: float, high: float, *, more: bool, verdict: str) -> None:
    assert says(Interval((low + high) / 2, low, high), more_is_better=more) == verdict


def test_what_differs_in_how_they_were_made() -> None:
    """Settings by flattened key, data by hash and count, code by file; seals and the task's own columns aside."""
    one = Made(
        {"origin": {"raw_hash": "a", "code_commit": "c1"}, "test": {"rows": 10}},
        {"sha256": "1", "training": {"epochs": 1, "seed": 7}, "source": {"etag": "x"}, "examples": {"columns": 1}},
        90, {"files": {"core/a.py": "1", "core/b.py": "1"}},
    )  # fmt: skip
    two = Made(
        {"origin": {"raw_hash": "b", "code_commit": "c1"}, "test": {"rows": 10}},
        {"sha256": "2", "training": {"epochs": 4, "seed": 7, "patience": 2}, "source": {"etag": "y"}, "gates": {}},
        95, {"files": {"core/a.py": "2", "core/b.py": "1"}},
    )  # fmt: skip
    found = changes(one, two)
    assert found.settings == {"training.epochs": (1, 4), "training.patience": (None, 2)}
    assert found.data == {"raw_hash": ("a", "b"), "rows after screening": (90, 95), "source.etag": ("x", "y")}
    assert (found.commit, found.files) == (None, ["core/a.py"])
    assert changes(replace(one, code={}), two).files is None
    assert flat({"a": {"b": {"c": [1, 2]}}, "d": None}) == {"a.b.c": [1, 2], "d": None}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, Version]]:
    """A workspace whose registry has films/1 (right on 150 of 200 rows), films/2 (on 170), and others to refuse."""
    root = tmp_path_factory.mktemp("compared")
    for name in ("dvc.yaml", "params.yaml"):
        (root / name).write_text("{}")
    model, found = [make_small_model(root / "made" / str(seed), seed=seed) for seed in (1, 2)], {}
    wanted: dict[str, dict[str, Any]] = {
        "1": {"right": 150}, "2": {"right": 170}, "half": {"right": 190, "first": 100},
        "far": {"right": 190, "first": 900}, "vectors": {"right": 190, "task": "sentence_embedding"},
    }  # fmt: skip
    for at, (key, about) in enumerate(wanted.items()):
        name = "films" if key in "12" else key
        subject = evident(model[at % 2], root / key, root / "var", name, gates={}, promote=key == "1", **about)
        (root / key / "settings.json").write_text(json.dumps({"training": {"epochs": at + 1}}))
        subject = replace(
            subject, recipe=name, evidence={**subject.evidence, "settings.json": root / key / "settings.json"}
        )
        found[key] = register(subject, root / "var")
    return Workspace(root), found


@pytest.mark.slow
def test_the_command_says_it_all_and_draws_it(
    versions: tuple[Workspace, dict[str, Version]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(versions[0].root)
    picture = tmp_path / "compared.png"
    arguments = ["compare", "films@champion", "films/2", "--rows", "3", "--json", "--picture", str(picture)]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    told = json.loads(done.stdout)
    assert told["first"] == {"model": "films", "version": "1", "aliases": ["champion"]}
    assert told["rows"] == {"common": 200, "first": 200, "second": 200}
    assert told["metrics"]["accuracy"]["difference"]["value"] == pytest.approx(0.1)
    assert told["metrics"]["accuracy"]["says"] == "better"
    assert told["labels"].keys() == {"neg", "pos"}
    assert (told["differ"]["count"], told["differ"]["nearer"], len(told["differ"]["shown"])) == (
        20, {"first": 0, "second": 20}, 3,
    )  # fmt: skip
    assert told["settings"] == {"training.epochs": {"first": 1, "second": 2}}
    with Image.open(picture) as drawn:
        assert drawn.width > 800
    said_so = CliRunner().invoke(app, arguments[:5], catch_exceptions=False).stdout
    assert "films/1 -> films/2: 200 test rows that both answered (of 200 and 200)" in said_so
    assert "accuracy           0.7500 -> 0.8500     +0.1000 [" in said_so
    assert "nearer the truth: films/1 0, films/2 20" in said_so
    assert "  training.epochs: 1 -> 2" in said_so


@pytest.mark.slow
def test_rows_that_both_have_count_alone(versions: tuple[Workspace, dict[str, Version]]) -> None:
    workspace, found = versions
    half = compare(workspace, found["1"], found["half"], most=1)
    assert (half.apart.rows, half.apart.of, half.relabelled) == (100, (200, 200), 0)
    assert "films/1 -> half/1: 100 test rows that both answered (of 200 and 200)" in next(compared_lines(half))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        ("1", "1", "both are films/1. Name two versions"),
        ("1", "far", "judged on 200 test rows, far/1 on 200, and none of them is the same"),
        ("1", "vectors", "films/1 is of the task text_classification, vectors/1 of sentence_embedding"),
    ],
)
def test_what_cannot_be_compared_is_said(
    versions: tuple[Workspace, dict[str, Version]], one: str, two: str, message: str
) -> None:
    workspace, found = versions
    with pytest.raises(BadRequest, match=message):
        compare(workspace, found[one], found[two], most=1)


@pytest.mark.slow
def test_a_version_that_was_champion_answers_for_the_others_rows(
    versions: tuple[Workspace, dict[str, Version]], tmp_path: Path
) -> None:
    """`register` asks the champion about the candidate's rows where its own were others: that is looked at here."""
    workspace, _ = versions
    champion = resolve("films", "1", workspace.var)
    subject = evident(
        make_small_model(tmp_path / "m", seed=3), tmp_path / "n", workspace.var, "newer", right=190, first=900, gates={}
    )
    rival = evident(
        make_small_model(tmp_path / "o", seed=4), tmp_path / "r", workspace.var, "r", right=100, first=900, gates={}
    ).evidence["predictions.parquet"]
    bundle = subject.evidence[BUNDLE]
    told = json.loads(bundle.read_text())
    told["champion"] = {"model_hash": champion.model_hash, "predictions": sha256_file(rival)}
    bundle.write_text(json.dumps(told))
    tags = {**subject.tags, "evidence_hash": sha256_file(bundle)}
    newer = register(
        replace(subject, recipe="newer", tags=tags, evidence={**subject.evidence, RIVAL: rival}), workspace.var
    )
    for pair, value in (((champion, newer), 0.45), ((newer, champion), -0.45)):
        found = compare(workspace, *pair, most=0)
        assert (found.apart.rows, found.asked_again) == (200, "films/1")
        assert found.apart.metrics[0].difference.value == pytest.approx(value)
