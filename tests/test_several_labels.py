"""Several labels of a row: how cells are read, and the figures against scikit-learn's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from core.cells import label_sets
from core.errors import BadData
from core.tables.statistics import whole
from pipelines.tasks.parts import linear
from pipelines.tasks.parts.answers import several_labels

NAMES = ["comedy", "drama", "horror"]


@pytest.mark.parametrize(
    ("value", "separator", "expected"),
    [
        (["b", "a", "b"], None, '["a","b"]'),
        ('["b", "a"]', "|", '["a","b"]'),
        ("b|a", "|", '["a","b"]'),
        ("b|a", None, '["b|a"]'),
        ("Drama, Crime ", ", ", '["Crime","Drama"]'),
        ([1, 2.0, True], None, '["1","2","True"]'),
        ([], None, "[]"),
        ("", "|", None),
        (None, "|", None),
        ("日|é", "|", '["é","日"]'),
    ],
)
def test_a_cell_of_labels_is_one_list(value: Any, separator: str | None, expected: str | None) -> None:
    """Equal sets are equal cells, however they are written; an empty cell says nothing, an empty list says none."""
    told, wrong = label_sets.told(value, separator)
    assert (told, wrong) == (expected, None)
    assert told is None or label_sets.told(told, separator) == (told, None)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('["a"', "not a JSON list"),
        ("[" * 10_000, "not a JSON list"),
        ("a||b", "'' is no label"),
        ([["a"]], "is no label"),
        ([None], "'None' is no label"),
        ({"a": 1}, "is no label"),
        (["a", "  "], "'  ' is no label"),
    ],
)
def test_what_is_no_set_of_labels_is_said(value: Any, words: str) -> None:
    told, wrong = label_sets.told(value, "|")
    assert wrong is not None and words in wrong
    assert told is None or isinstance(told, str)


def test_figures_are_scikit_learns() -> None:
    random = np.random.default_rng(1)
    true, probabilities = random.integers(0, 2, (60, 3)), random.random((60, 3))
    said = probabilities >= 0.4
    found = whole(
        several_labels.score,
        several_labels.measure({"probabilities": probabilities, "marks": true, "threshold": np.full(60, 0.4)}),
    )
    losses = [metrics.log_loss(true[:, at], probabilities[:, at]) for at in range(3)]
    assert found == pytest.approx(
        {
            "micro_f1": metrics.f1_score(true, said, average="micro"),
            "macro_f1": metrics.f1_score(true, said, average="macro"),
            "exact_match": metrics.accuracy_score(true, said),
            "hamming_loss": metrics.hamming_loss(true, said),
            "log_loss": np.mean(losses),
        }
    )
    assert found.keys() == several_labels.METRICS.keys()


def test_a_row_is_answered_by_the_labels_that_reach_the_threshold() -> None:
    said = {"probabilities": np.array([[0.2, 0.9, 0.6], [0.1, 0.2, 0.3]])}
    answers = several_labels.answers(said, NAMES, 0.5)
    assert answers.to_dict("list") == {"labels": [["drama", "horror"], []], "probabilities": [[0.9, 0.6], []]}
    told = several_labels.by_row(
        {**said, "marks": np.array([[0, 1, 0], [0, 0, 0]]), "threshold": np.full(2, 0.5)}, NAMES
    )
    assert (told.error.tolist(), told.said, told.true) == ([1.0, 0.0], ["drama, horror", "none"], ["drama", "none"])


def test_a_label_that_no_training_row_has_is_refused() -> None:
    with pytest.raises(BadData, match="label 'western' stands on rows of another split"):
        several_labels.marks(pd.Series(['["drama"]', '["western"]']), NAMES)


def test_each_label_has_a_regression_of_its_own() -> None:
    """Against scikit-learn, label by label; of one that every row has, its odds."""
    random = np.random.default_rng(2)
    features = random.normal(size=(80, 4))
    marks = np.stack([features[:, 0] > 0, features[:, 1] > 0.5, np.ones(80)], axis=1).astype(np.int8)
    said = linear.fit_each(features, marks, strength=1.0, rounds=200).probabilities(features)
    for at in range(2):
        theirs = LogisticRegression(C=1.0, max_iter=200).fit(features, marks[:, at])
        np.testing.assert_allclose(said[:, at], theirs.predict_proba(features)[:, 1], atol=1e-9)
    assert (said[:, 2] > 0.99).all()
