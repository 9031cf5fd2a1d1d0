"""Metrics with intervals, by slice, beside baselines; a baseline that wins is said first."""

from __future__ import annotations

import json
import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support

from core.schema.evaluation import Evaluation
from core.tables.predictions import Answered, read_predictions
from core.tables.task import Predictions
from pipelines.evaluate.evaluate import measure
from pipelines.evaluate.report import Findings, markdown, summary
from pipelines.tasks import find_task
from tests.conftest import Workspace

ROWS = 200
LABEL = np.arange(ROWS) % 2
AXES = {"probabilities": ["neg", "pos"]}
HALVES = ["first" if row < ROWS // 2 else "second" for row in range(ROWS)]


def _said(right: int) -> Predictions:
    """Probabilities whose first `right` rows are right."""
    own = np.where(np.arange(ROWS) < right, 0.8, 0.2)
    return {"probabilities": np.where(LABEL[:, None] == np.arange(2), own[:, None], 1 - own[:, None])}


def _findings(*, model: int, baseline: int) -> Findings:
    answered = Answered(
        [str(row) for row in range(ROWS)],
        {"label": LABEL},
        _said(model),
        {"trivial": _said(100), "other": _said(baseline)},
    )
    evaluation = Evaluation(primary="accuracy", resamples=300)
    sides = [("neg", "pos")[label] for label in LABEL]
    return measure(find_task("text_classification"), answered, evaluation, {"half": HALVES, "label": sides}, AXES)


def test_metrics_json_is_flat_and_report_json_has_the_rest() -> None:
    findings = _findings(model=180, baseline=150)
    metrics, told = findings.metrics(), summary(findings)
    assert metrics.keys() == find_task("text_classification").metrics.keys()
    assert all(type(value) is float for value in metrics.values()) and metrics["accuracy"] == 0.9
    assert told["model"]["accuracy"]["low"] < 0.9 < told["model"]["accuracy"]["high"]
    assert told["baselines"]["other"]["accuracy"]["value"] == 0.75
    assert told["differences"]["other"]["value"] == pytest.approx(0.15)
    assert told["slices"]["half"]["first"]["accuracy"]["value"] == 1.0
    assert told["slices"]["half"]["second"]["accuracy"]["value"] == pytest.approx(0.8)
    assert told["slices"]["half"]["second"]["rows"] == 100
    json.dumps([metrics, told], allow_nan=False)


def test_each_label_has_figures_of_its_own_and_its_rows_no_macro_f1() -> None:
    told = summary(_findings(model=181, baseline=150))
    said = _said(181)["probabilities"].argmax(axis=1)
    expected = precision_recall_fscore_support(LABEL, said)
    for at, label in enumerate(("neg", "pos")):
        found = told["labels"][label]
        assert [found[name]["value"] for name in ("precision", "recall", "f1")] == [
            pytest.approx(values[at]) for values in expected[:3]
        ]
        assert found["support"] == expected[3][at] == 100
        assert found["f1"]["low"] < found["f1"]["value"] < found["f1"]["high"]
        assert told["slices"]["label"][label].keys() == {"rows", "accuracy", "log_loss"}
        assert told["slices"]["label"][label]["accuracy"]["value"] == found["recall"]["value"]
    assert told["slices"]["half"]["first"].keys() >= {"macro_f1"}


def test_what_is_no_number_is_left_out_of_metrics_json_and_null_in_report_json() -> None:
    findings = _findings(model=180, baseline=150)
    model = replace(findings.model, values={**findings.model.values, "log_loss": math.nan})
    findings = replace(findings, model=model)
    assert "log_loss" not in findings.metrics() and "accuracy" in findings.metrics()
    assert summary(findings)["model"]["log_loss"]["value"] is None
    json.dumps(summary(findings), allow_nan=False)


def test_a_label_that_is_never_said_has_no_precision_and_one_that_is_never_true_no_recall() -> None:
    label, said = np.zeros(20, dtype=np.int64), np.ones(20, dtype=np.int64)
    answered = Answered([str(row) for row in range(20)], {"label": label}, {"probabilities": np.eye(3)[said]}, {})
    evaluation = Evaluation(primary="accuracy", resamples=100)
    axes = {"probabilities": ["a", "b", "never seen"]}
    found = summary(measure(find_task("text_classification"), answered, evaluation, {}, axes))["labels"]
    assert found.keys() == {"a", "b"}
    assert found["a"].keys() == {"support", "recall", "f1"} and found["b"].keys() == {"support", "precision", "f1"}


def test_a_thousand_labels_cost_no_matrix_of_labels_by_labels_and_the_report_shows_thirty() -> None:
    """Resamples times labels is 4 MB; rows times labels, as the probabilities have it, 16 MB."""
    labels, rows = 1000, 2000
    label = np.arange(rows) % labels
    said = np.where(np.arange(rows) < rows // 2, label, (label + 1) % labels)
    answered = Answered(
        [str(row) for row in range(rows)], {"label": label}, {"probabilities": np.eye(labels)[said]}, {}
    )
    evaluation, axes = (
        Evaluation(primary="accuracy", resamples=100),
        {"probabilities": [f"l{at}" for at in range(labels)]},
    )
    tracemalloc.start()
    findings = measure(find_task("text_classification"), answered, evaluation, {}, axes)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    report = markdown(findings, "many")
    assert most < 40e6
    assert len(summary(findings)["labels"]) == labels and len(findings.metrics()) == 4
    assert report.count("\n| l") == len(["log_loss", "label"]) + 30 and "970 more stand in report.json" in report


def test_labels_cannot_tear_the_report() -> None:
    """Rendered by a Markdown parser, each label's row has its cells and its label as it is spelled."""
    names = sorted(["$", "$$x_1^2$", "\\frac{a}", "a|b", "a\\|b", "<b>", "*a*", "[x](y)", "`", "two\nlines", "", " ",
                    "日本語", "שלום", "\u202eback", "x" * 5000])  # fmt: skip
    label = np.arange(160) % len(names)
    answered = Answered(
        [str(row) for row in range(160)], {"label": label}, {"probabilities": np.eye(len(names))[label]}, {}
    )
    columns = {"label": [names[at] for at in label], "a|<b>": [names[at] for at in label]}
    evaluation = Evaluation(primary="accuracy", resamples=100)
    findings = measure(find_task("text_classification"), answered, evaluation, columns, {"probabilities": names})
    report = markdown(findings, "signs")
    html = MarkdownIt("commonmark").enable("table").render(report)
    table = BeautifulSoup(html, "html.parser").find_all("table")
    for found, cells in zip(table[1:], (5, 4, 6), strict=True):
        rows = [[cell.get_text() for cell in row.find_all(["td", "th"])] for row in found.find_all("tr")]
        assert {len(row) for row in rows} == {cells} and len(rows) == len(names) + 1, rows[0]
        shown = [row[0] for row in rows[1:]]
        assert {"$", "$$x_1^2$", "\\frac{a}", "a|b", "<b>", "*a*", "[x](y)", "`", '"two\\nlines"', '""', '" "',
                "日本語", "שלום", '"\\u202eback"'} < set(shown)  # fmt: skip
        assert len(set(shown)) == len(names)
    assert "macro_f1" not in report.split("## Slices by label")[1].split("## Slices")[0]


def test_a_model_that_is_ahead_says_so() -> None:
    findings = _findings(model=190, baseline=150)
    assert findings.first_lines()[0].startswith("Better than every baseline")
    assert summary(findings)["beaten_by"] == []
    assert (summary(findings)["best_baseline"], summary(findings)["trivial_baseline"]) == ("other", "trivial")


def test_a_baseline_that_wins_stands_first() -> None:
    findings = _findings(model=150, baseline=190)
    report = markdown(findings, "films").splitlines()
    assert "A baseline wins: other has accuracy 0.9500, this model 0.7500" in report[2]
    assert "surely" in report[2]
    assert summary(findings)["beaten_by"] == ["other"]


def test_a_baseline_within_chance_is_named_too() -> None:
    findings = _findings(model=152, baseline=151)
    assert findings.first_lines()[0].startswith("Not surely better than a baseline: other")
    assert summary(findings)["not_surely_ahead_of"] == ["other"]
    assert summary(findings)["beaten_by"] == []


def test_less_is_better_for_a_loss() -> None:
    answered = Answered([str(row) for row in range(ROWS)], {"label": LABEL}, _said(150), {"other": _said(190)})
    evaluation = Evaluation(primary="log_loss", resamples=200)
    findings = measure(find_task("text_classification"), answered, evaluation, {}, AXES)
    assert findings.ahead("other").value > 0
    assert findings.beaten_by() == ["other"]


@pytest.mark.slow
def test_the_stage_writes_all_its_files(tiny: Workspace) -> None:
    _write_slices(tiny)
    for stage in ("settings", "collect", "validate", "preprocess", "train", "evaluate"):
        done = tiny.stage(stage, "tiny")
        assert done.returncode == 0, done.stderr
    folder = tiny.path("data/models/tiny/evaluation")
    metrics, report = (json.loads((folder / name).read_text()) for name in ("metrics.json", "report.json"))
    answered = read_predictions(folder / "predictions.parquet")
    probabilities, label = answered.model["probabilities"], answered.truth["label"]
    assert metrics["accuracy"] == pytest.approx(accuracy_score(label, probabilities.argmax(1)))
    assert metrics["log_loss"] == pytest.approx(log_loss(label, probabilities))
    frame = pd.read_parquet(folder / "predictions.parquet")
    assert metrics["accuracy"] == pytest.approx((frame["label"] == frame["predicted"]).mean())
    assert set(report["slices"]["label"]) == {"pos", "neg"}
    assert set(report["baselines"]) == {"majority", "tfidf"}
    assert {path.name for path in (folder / "plots").iterdir()} == {"confusion.png", "calibration.png"}
    assert json.loads((folder / "serving.json").read_text())["latency_p50_ms"] > 0
    assert report["labels"].keys() == {"pos", "neg"}
    assert report["first_lines"][0] in done.stderr

    before = tiny.hashes("data/models/tiny/evaluation")
    again = tiny.stage("evaluate", "tiny")
    assert again.returncode == 0
    assert {name for name, sha256 in tiny.hashes("data/models/tiny/evaluation").items() if before[name] != sha256} <= {
        "serving.json", "manifest.json"
    }  # fmt: skip

    recipe = tiny.path("recipes/tiny.yaml")
    recipe.write_text(recipe.read_text().replace("slices: [label]", "slices: [genre]"))
    assert tiny.stage("settings", "tiny").returncode == 0
    refused = tiny.stage("evaluate", "tiny")
    assert refused.returncode == 2
    assert "'genre'" in refused.stderr
    assert "label" in refused.stderr


def _write_slices(tiny: Workspace) -> None:
    recipe = tiny.path("recipes/tiny.yaml")
    recipe.write_text(recipe.read_text().replace("{resamples: 100}", "{resamples: 100, slices: [label]}"))
