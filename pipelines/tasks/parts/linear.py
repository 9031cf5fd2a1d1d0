"""Logistic regression, and TF-IDF in front of it, kept as numbers: scikit-learn fits them, nothing is pickled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.atomic_files import read_json, write_json
from core.errors import BadRequest

if TYPE_CHECKING:
    import pyarrow as pa
    from sklearn.feature_extraction.text import TfidfVectorizer

    from core.tables.learner import History

# Classes times terms that TF-IDF has at most. The solver holds some 37 arrays of that size: 3 GB. Of more terms the
# commonest stay: 100,000 of them with a hundred labels, 10,000 with a thousand.
MOST_WEIGHTS = 10_000_000
_WEIGHTS, _TERMS = "linear.safetensors", "terms.json"

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class LinearClassifier:
    """weights: (classes, features); bias: (classes,), -inf for a class that no training row had; float64."""

    weights: Array
    bias: Array

    def probabilities(self, features: Any) -> Array:
        """(rows, classes), each row adding up to 1. features: (rows, features), dense or sparse."""
        scores = features @ self.weights.T + self.bias
        scores -= scores.max(axis=1, keepdims=True)
        exponents = np.exp(scores)
        return np.asarray(exponents / exponents.sum(axis=1, keepdims=True))

    def save(self, folder: Path, **more: Array) -> None:
        """linear.safetensors. more: arrays that belong to it."""
        from safetensors.numpy import save_file

        save_file({"weights": self.weights, "bias": self.bias, **more}, folder / _WEIGHTS)


def fit(features: Any, labels: Array, *, classes: int, strength: float, rounds: int) -> LinearClassifier:
    """Logistic regression. strength: C, the inverse of the L2 penalty. rounds: of the solver at most."""
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=strength, max_iter=rounds, random_state=0).fit(features, labels)
    coefficients, intercepts = found.coef_, found.intercept_
    if len(found.classes_) == 2:  # scikit-learn keeps the second class's score alone
        coefficients = np.vstack([np.zeros_like(coefficients), coefficients])
        intercepts = np.r_[0.0, intercepts]
    weights, bias = np.zeros((classes, coefficients.shape[1])), np.full(classes, -np.inf)
    weights[found.classes_], bias[found.classes_] = coefficients, intercepts
    return LinearClassifier(weights, bias)


class OneVsRest(LinearClassifier):
    """A logistic regression a label, each of its own: a row may have any number of labels."""

    def probabilities(self, features: Any) -> Array:
        """(rows, labels), each between 0 and 1."""
        return sigmoid(np.asarray(features @ self.weights.T + self.bias))


def sigmoid(logits: Array) -> Array:
    """Probabilities in float64, without an overflow."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits.astype(np.float64))))


def fit_each(features: Any, marks: Array, *, strength: float, rounds: int) -> OneVsRest:
    """A logistic regression a label; of a label that all rows have, or none, its odds. marks: (rows, labels)."""
    from sklearn.linear_model import LogisticRegression

    weights, bias = np.zeros((marks.shape[1], features.shape[1])), np.zeros(marks.shape[1])
    for at, own in enumerate(marks.T):
        if 0 < own.sum() < len(own):
            found = LogisticRegression(C=strength, max_iter=rounds, random_state=0).fit(features, own)
            weights[at], bias[at] = found.coef_[0], found.intercept_[0]
        else:
            bias[at] = np.log((own.sum() + 0.5) / (len(own) - own.sum() + 0.5))
    return OneVsRest(weights, bias)


def is_kept(folder: Path) -> bool:
    """Whether save() wrote into the folder."""
    return (folder / _WEIGHTS).is_file()


def load(folder: Path, kind: type[LinearClassifier] = LinearClassifier) -> tuple[LinearClassifier, dict[str, Array]]:
    """What save() wrote. Raises BadRequest when it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(folder / _WEIGHTS)
        model = kind(arrays.pop("weights"), arrays.pop("bias"))
    except (OSError, KeyError, SafetensorError) as error:
        raise BadRequest(f"{folder}: its weights cannot be used ({error}).") from error
    return model, arrays


@dataclass(frozen=True)
class Tfidf:
    """TF-IDF of words and word pairs with logistic regression: hard to beat on topics, easier on tone."""

    vectorizer: TfidfVectorizer
    classifier: LinearClassifier

    def probabilities(self, texts: Sequence[str]) -> Array:
        """(texts, classes)."""
        return self.classifier.probabilities(self.vectorizer.transform(texts))

    def save(self, folder: Path) -> None:
        """The terms in the order of their numbers, their inverse document frequencies, and the classifier."""
        write_json(folder / _TERMS, self.vectorizer.get_feature_names_out().tolist())
        self.classifier.save(folder, idf=self.vectorizer.idf_)


def fit_tfidf(texts: Sequence[str], labels: Array, *, classes: int) -> Tfidf:
    """labels: a number each, (rows,), or marks of several, (rows, classes)."""
    vectorizer = _vectorizer(min_df=2, max_features=MOST_WEIGHTS // classes)
    features = vectorizer.fit_transform(texts)
    if labels.ndim == 2:
        return Tfidf(vectorizer, fit_each(features, labels, strength=10.0, rounds=1000))
    return Tfidf(vectorizer, fit(features, labels, classes=classes, strength=10.0, rounds=1000))


def flat(pixels: Array) -> Array:
    """Pixels (pictures, channels, height, width) in uint8 -> (pictures, features), 0 to 1."""
    return np.asarray(pixels.reshape(len(pixels), -1) / 255)


def fit_pixels(pixels: Array, labels: Array, *, classes: int) -> LinearClassifier:
    """Logistic regression on the pixels themselves, as flat() has them."""
    return fit(pixels, labels, classes=classes, strength=0.1, rounds=300)


@dataclass
class OneStepLearner:
    """Fits a classifier in one step to what `read` takes from encoded rows, and their column `labels`.

    make: inputs and labels -> the classifier. fitted: after fit().
    """

    read: Callable[[pa.Table], Any]
    make: Callable[[Any, Array], Tfidf | LinearClassifier]
    _fitted: Tfidf | LinearClassifier | None = None

    @property
    def fitted(self) -> Tfidf | LinearClassifier:
        assert self._fitted is not None
        return self._fitted

    def fit(self, train: pa.Table, validation: pa.Table) -> History:
        self._fitted = self.make(self.read(train), _labels(train))
        if not validation.num_rows:
            return []
        return validated(self._fitted.probabilities(self.read(validation)), _labels(validation))


def tfidf_learner(classes: int) -> OneStepLearner:
    """Reads the column `text`."""
    return OneStepLearner(lambda table: table["text"].to_pylist(), partial(fit_tfidf, classes=classes))


def pixels_learner(classes: int) -> OneStepLearner:
    """Reads the column `pixels`."""

    def read(table: pa.Table) -> Array:
        found: Array = table["pixels"].combine_chunks().flatten().to_numpy()
        return flat(found.reshape(table.num_rows, -1))

    return OneStepLearner(read, partial(fit_pixels, classes=classes))


def validated(probabilities: Array, labels: Array) -> History:
    """What a classifier that is fitted in one step says of the validation rows."""
    if labels.ndim == 2:
        own = np.where(labels, probabilities, 1 - probabilities)
        right = {"eval_exact_match": float(((probabilities >= 0.5) == labels).all(axis=1).mean())}
    else:
        own = probabilities[np.arange(len(labels)), labels]
        right = {"eval_accuracy": float((probabilities.argmax(axis=1) == labels).mean())}
    return [{"step": 1, "eval_loss": float(-np.log(np.clip(own, np.finfo(np.float64).eps, None)).mean()), **right}]


def _labels(table: pa.Table) -> Array:
    """The column `labels`: a number each, (rows,), or marks of several, (rows, classes)."""
    column = table["labels"].combine_chunks()
    if column.type.num_fields == 0:
        return np.asarray(column)
    return np.asarray(column.flatten()).reshape(table.num_rows, -1)


def load_tfidf(folder: Path, kind: type[LinearClassifier] = LinearClassifier) -> Tfidf:
    """What Tfidf.save() wrote. kind: of its classifier. Raises BadRequest when it cannot be read."""
    classifier, arrays = load(folder, kind)
    vectorizer = _vectorizer(vocabulary=read_json(folder / _TERMS))
    vectorizer.idf_ = arrays["idf"]
    return Tfidf(vectorizer, classifier)


def _vectorizer(**options: Any) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, **options)
