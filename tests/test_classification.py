"""Metrics against scikit-learn's, and the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from core.atomic_files import sha256_file
from core.errors import BadData
from core.tables.statistics import whole
from core.tables.task import Predictions
from pipelines.tasks.parts import classification as labelled
from tests.places import a_place


@pytest.fixture
def predictions() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    label = random.integers(0, 3, 300)
    logits = random.normal(size=(300, 4)) + 1.5 * np.eye(4)[label]  # class 3 is never true
    return {"probabilities": labelled.softmax(logits), "label": label}


def scored(predictions: Predictions) -> Mapping[str, float]:
    return whole(labelled.score, labelled.measure(predictions))


def test_metrics_are_scikit_learns(predictions: dict[str, np.ndarray]) -> None:
    probabilities, label = predictions["probabilities"], predictions["label"]
    scores = scored(predictions)
    assert scores.keys() == labelled.METRICS.keys()
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(label, probabilities.argmax(1)))
    assert scores["macro_f1"] == pytest.approx(reference.f1_score(label, probabilities.argmax(1), average="macro"))
    assert scores["log_loss"] == pytest.approx(reference.log_loss(label, probabilities, labels=[0, 1, 2, 3]))


def test_calibration_error_by_hand() -> None:
    """Two bins: four rows at .95 of which three are right, two at .55 of which none is."""
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, False, False])
    label = np.where(right, 0, 1)
    error = scored({"probabilities": np.stack([confidence, 1 - confidence], axis=1), "label": label})
    assert error["calibration_error"] == pytest.approx(4 / 6 * abs(0.75 - 0.95) + 2 / 6 * 0.55)


def test_a_sure_and_wrong_answer_has_a_finite_loss() -> None:
    scores = scored({"probabilities": np.array([[1.0, 0.0]]), "label": np.array([1])})
    assert scores["log_loss"] == pytest.approx(-np.log(np.finfo(float).eps))


def test_softmax_stands_large_logits() -> None:
    np.testing.assert_allclose(labelled.softmax(np.array([[1e4, 0.0]], dtype=np.float32)), [[1.0, 0.0]])


def test_majority_gives_the_shares_of_training() -> None:
    said = labelled.majority(np.array([0, 0, 0, 2]), 2, classes=3)
    np.testing.assert_allclose(said["probabilities"], [[0.75, 0, 0.25]] * 2)


def test_labels_are_numbered_by_name(tmp_path: Path) -> None:
    assert labelled.write_labels([pd.DataFrame({"label": ["b", "a", "b"]})], tmp_path) == ["a", "b"]
    truth = labelled.Labelled().truth(pd.DataFrame({"label": ["b", "a"]}), a_place(tmp_path))
    assert truth["label"].tolist() == [1, 0]


def test_one_label_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"1 label \(a\).*needs two"):
        labelled.write_labels([pd.DataFrame({"label": ["a", "a"]})], tmp_path)


def test_a_label_that_training_lacks_is_named(tmp_path: Path) -> None:
    labelled.write_labels([pd.DataFrame({"label": ["a", "b"]})], tmp_path)
    with pytest.raises(BadData, match=r"'c' stands on 2 rows.*Known: a, b.*stratify"):
        labelled.Labelled().truth(pd.DataFrame({"label": ["a", "c", "c"]}), a_place(tmp_path))


def test_plots_are_equal_byte_for_byte(predictions: dict[str, np.ndarray], tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        labelled.plots(predictions, folder=tmp_path / name, names=["a", "b", "c", "d"])
    for name in ("confusion.png", "calibration.png"):
        assert sha256_file(tmp_path / "first" / name) == sha256_file(tmp_path / "second" / name)
        assert (tmp_path / "first" / name).stat().st_size > 5000
