"""Logistic regression and TF-IDF as numbers, against scikit-learn, and what comes back from disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from core.errors import BadRequest
from pipelines.tasks.parts import linear
from tests.conftest import film_rows


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_are_scikit_learns(classes: int) -> None:
    random = np.random.default_rng(3)
    features, labels = random.normal(size=(90, 4)), np.arange(90) % classes
    model = linear.fit(features, labels, classes=classes, strength=0.5, rounds=300)
    theirs = LogisticRegression(C=0.5, max_iter=300).fit(features, labels)
    np.testing.assert_allclose(model.probabilities(features), theirs.predict_proba(features), atol=1e-12)


def test_a_class_without_a_row_is_never_said() -> None:
    features, labels = np.eye(6), np.array([0, 2, 0, 2, 0, 2])
    said = linear.fit(features, labels, classes=4, strength=1.0, rounds=100).probabilities(features)
    assert said.shape == (6, 4)
    assert (said[:, [1, 3]] == 0).all()
    np.testing.assert_allclose(said.sum(axis=1), 1)


def test_tfidf_is_scikit_learns_and_comes_back_from_disk(tmp_path: Path) -> None:
    rows = film_rows(80)
    texts, labels = (
        [row["text"] for row in rows],
        np.array([row["label"] == rows[0]["label"] for row in rows], np.int64),
    )
    model = linear.fit_tfidf(texts[:60], labels[:60], classes=2)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    classifier = LogisticRegression(C=10.0, max_iter=1000, random_state=0)
    classifier.fit(vectorizer.fit_transform(texts[:60]), labels[:60])
    expected = classifier.predict_proba(vectorizer.transform(texts[60:]))
    np.testing.assert_allclose(model.probabilities(texts[60:]), expected, atol=1e-12)
    model.save(tmp_path)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    assert np.array_equal(linear.load_tfidf(tmp_path).probabilities(texts), model.probabilities(texts))


def test_of_many_labels_tfidf_keeps_the_commonest_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its solver holds some 37 arrays of labels times terms, so that product is bounded."""
    texts = ["common word", "common word", "common term", "common term", "common rare", "common rare"]
    monkeypatch.setattr(linear, "MOST_WEIGHTS", 12)
    model = linear.fit_tfidf(texts, np.array([0, 0, 1, 1, 2, 2]), classes=3)
    terms = model.vectorizer.get_feature_names_out().tolist()
    assert len(terms) == 4 and "common" in terms and model.classifier.weights.size == 12


def test_torn_weights_are_said(tmp_path: Path) -> None:
    (tmp_path / "linear.safetensors").write_bytes(b"x" * 20)
    with pytest.raises(BadRequest, match="its weights cannot be used"):
        linear.load(tmp_path)
