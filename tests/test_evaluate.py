"""Metrics with intervals, by slice, beside baselines; a baseline that wins is said first."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss

from core.schema.evaluation import Evaluation
from core.tables.predictions import Answered, read_predictions
from core.tables.task import Predictions
from pipelines.evaluate.evaluate import measure
from pipelines.evaluate.report import Findings, markdown, summary
from pipelines.tasks import find_task
from tests.conftest import Workspace

ROWS = 200
LABEL = np.arange(ROWS) % 2
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
    return measure(find_task("text_classification"), answered, evaluation, {"half": HALVES})


def test_metrics_json_has_the_agreed_form() -> None:
    metrics = _findings(model=180, baseline=150).metrics()
    assert metrics["accuracy"]["value"] == 0.9
    assert metrics["accuracy"]["low"] < 0.9 < metrics["accuracy"]["high"]
    assert metrics["baselines"]["other"]["accuracy"]["value"] == 0.75
    assert metrics["differences"]["other"]["accuracy"]["value"] == pytest.approx(0.15)
    assert metrics["slices"]["half"]["first"]["accuracy"]["value"] == 1.0
    assert metrics["slices"]["half"]["second"]["accuracy"]["value"] == pytest.approx(0.8)
    assert metrics["slices"]["half"]["second"]["rows"] == 100
    json.dumps(metrics, allow_nan=False)


def test_a_model_that_is_ahead_says_so() -> None:
    findings = _findings(model=190, baseline=150)
    assert findings.first_lines()[0].startswith("Better than every baseline")
    assert summary(findings)["beaten_by"] == []
    assert summary(findings)["best_baseline"] == "other"


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
    findings = measure(find_task("text_classification"), answered, evaluation, {})
    assert findings.ahead("other").value > 0
    assert findings.beaten_by() == ["other"]


@pytest.mark.slow
def test_the_stage_writes_all_its_files(tiny: Workspace) -> None:
    _write_slices(tiny)
    for stage in ("settings", "collect", "validate", "preprocess", "train", "evaluate"):
        done = tiny.stage(stage, "tiny")
        assert done.returncode == 0, done.stderr
    folder = tiny.path("data/models/tiny/evaluation")
    metrics = json.loads((folder / "metrics.json").read_text())
    answered = read_predictions(folder / "predictions.parquet")
    probabilities, label = answered.model["probabilities"], answered.truth["label"]
    assert metrics["accuracy"]["value"] == pytest.approx(accuracy_score(label, probabilities.argmax(1)))
    assert metrics["log_loss"]["value"] == pytest.approx(log_loss(label, probabilities))
    frame = pd.read_parquet(folder / "predictions.parquet")
    assert metrics["accuracy"]["value"] == pytest.approx((frame["label"] == frame["predicted"]).mean())
    assert set(metrics["slices"]["label"]) == {"pos", "neg"}
    assert set(metrics["baselines"]) == {"majority", "tfidf"}
    assert {path.name for path in (folder / "plots").iterdir()} == {"confusion.png", "calibration.png"}
    assert json.loads((folder / "serving.json").read_text())["latency_p50_ms"] > 0
    assert json.loads((folder / "report.json").read_text())["first_lines"][0] in done.stderr

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
