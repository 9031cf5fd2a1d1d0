"""Estimators of scikit-learn by name, with what each needs before it: fitted in one go, kept without pickle.

scikit-learn is imported by those functions that need it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from core.errors import BadRequest, near
from core.schema.model import Architecture, Model
from core.schema.section import Section
from core.tables.task import Base
from pipelines.tasks.parts.tables import column_input
from pipelines.tasks.parts.tables.column_input import Array, Columns

if TYPE_CHECKING:
    import pyarrow as pa

    from core.tables.learner import History

Answer = Literal["label", "number", "anomaly"]
NETWORK = "mlp"  # of the project's own loop: column_network.py


@dataclass(frozen=True)
class Kind:
    """label, number, anomaly: the class that says one, under sklearn; None where there is none.

    scaled: it is told of distances, or sums, so numbers are standardised, gaps filled and categories spread over
    columns of 0 and 1; the others split columns, take numbers as they are and know gaps.
    """

    label: str | None = None
    number: str | None = None
    scaled: bool = True
    anomaly: str | None = None


KINDS: Mapping[str, Kind] = {
    "logistic_regression": Kind("linear_model.LogisticRegression", None),
    "linear_regression": Kind(None, "linear_model.LinearRegression"),
    "ridge": Kind("linear_model.RidgeClassifier", "linear_model.Ridge"),
    "lasso": Kind(None, "linear_model.Lasso"),
    "elastic_net": Kind(None, "linear_model.ElasticNet"),
    "svm": Kind("svm.SVC", "svm.SVR"),
    "nearest_neighbours": Kind("neighbors.KNeighborsClassifier", "neighbors.KNeighborsRegressor"),
    "naive_bayes": Kind("naive_bayes.GaussianNB", None),
    "decision_tree": Kind("tree.DecisionTreeClassifier", "tree.DecisionTreeRegressor", scaled=False),
    "random_forest": Kind("ensemble.RandomForestClassifier", "ensemble.RandomForestRegressor", scaled=False),
    "extra_trees": Kind("ensemble.ExtraTreesClassifier", "ensemble.ExtraTreesRegressor", scaled=False),
    "gradient_boosting": Kind(
        "ensemble.HistGradientBoostingClassifier", "ensemble.HistGradientBoostingRegressor", scaled=False
    ),
    "z_score": Kind(anomaly="preprocessing.StandardScaler"),
    "mahalanobis": Kind(anomaly="covariance.LedoitWolf"),
    "pca": Kind(anomaly="decomposition.PCA"),
    "isolation_forest": Kind(anomaly="ensemble.IsolationForest"),
    "local_outlier_factor": Kind(anomaly="neighbors.LocalOutlierFactor"),
}
# The recipe's own way to say what the data says anyway, or what would change nothing but the time.
_NOT_A_USERS = {
    "n_jobs", "verbose", "warm_start", "copy_X", "categorical_features", "probability", "copy", "with_mean", "with_std",
    "store_precision", "assume_centered", "novelty", "contamination",
}  # fmt: skip


class NetworkSettings(Section):
    hidden_sizes: Annotated[list[Annotated[int, Field(ge=1, le=8192)]], Field(max_length=16)] = Field(
        default_factory=lambda: [128, 64]
    )


class CodeSettings(NetworkSettings):
    """Of a network that says again what it is shown, out of a code of a few numbers."""

    code_size: Annotated[int, Field(ge=1, le=8192)] = 8


VARIATIONAL = "variational_autoencoder"
NETWORKS: Mapping[Answer, Mapping[str, type[NetworkSettings]]] = {  # of the project's own loop, by what they say
    "label": {NETWORK: NetworkSettings},
    "number": {NETWORK: NetworkSettings},
    "anomaly": {"autoencoder": CodeSettings, VARIATIONAL: CodeSettings},
}


def network_settings(base: Base) -> NetworkSettings:
    """Raises BadRequest for settings that the network has not."""
    assert base.architecture is not None  # the only method starts from one
    return base.architecture.settings_as(NetworkSettings)


def names(answer: Answer) -> list[str]:
    """The architectures that a task with such an answer has."""
    return [*(name for name, kind in KINDS.items() if getattr(kind, answer)), *NETWORKS[answer]]


def check(model: Model, base: Base, answer: Answer) -> None:
    """Raise BadRequest, beginning with the key that is wrong, for what no estimator can be made of."""
    told = base.architecture
    assert told is not None
    if told.tokenizer is not None:
        raise BadRequest(f"model.base.tokenizer: {told.architecture} reads no texts. Leave it out.")
    if told.architecture in NETWORKS[answer]:
        told.settings_as(NETWORKS[answer][told.architecture])
        return
    estimator(told, answer, seed=0)
    if model.dropout is not None:
        raise BadRequest(
            f"model.dropout: {told.architecture} has no dropout, {next(iter(NETWORKS[answer]))} has. Leave it out."
        )


def pipeline(told: Architecture, known: Columns, answer: Answer, *, seed: int) -> Any:
    """What matrix() gives -> answers: the preparation that the estimator needs, and the estimator.

    Raises BadRequest for an unknown architecture or setting, or a value that scikit-learn refuses.
    """
    from sklearn.compose import make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    made = estimator(told, answer, seed=seed)
    categories = list(range(known.width, known.width + len(known.categories)))
    if not KINDS[told.architecture].scaled:
        if told.architecture == "gradient_boosting":
            made.set_params(categorical_features=categories or None)
        return _in_measure(make_pipeline("passthrough", made), answer)
    filled = SimpleImputer(add_indicator=True, keep_empty_features=True)
    spread = OneHotEncoder(handle_unknown="ignore", dtype=np.float32, sparse_output=False)
    parts = [(make_pipeline(filled, StandardScaler()), list(range(known.width))), (spread, categories)]
    prepared = make_column_transformer(*(part for part in parts if part[1]))
    return _in_measure(make_pipeline(prepared, made), answer)


def _in_measure(found: Any, answer: Answer) -> Any:
    """Numbers are learnt standardised, or a penalty would mean another thing in grams and in tons."""
    if answer == "label":
        return found
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.preprocessing import StandardScaler

    return TransformedTargetRegressor(regressor=found, transformer=StandardScaler())


def matrix(numbers: Array, categories: Array) -> Array:
    """(rows, columns) float32: numbers with NaN where there is none, then categories by number."""
    return np.concatenate([numbers, categories.astype(np.float32)], axis=1)


@dataclass
class EstimatorLearner:
    """Fits a pipeline to encoded rows and their column `labels`. told: what it says of the validation rows."""

    pipeline: Any
    told: Callable[[Array, Array], History]

    def fit(self, train: pa.Table, validation: pa.Table) -> History:
        import torch
        from threadpoolctl import threadpool_limits

        inputs = matrix(*column_input.of_table(train))
        try:
            with threadpool_limits(torch.get_num_threads()):  # `compute.threads` decides the last bits
                self.pipeline.fit(inputs, train["labels"].to_numpy())
        except ValueError as error:
            what = " ".join(str(error).split())
            raise BadRequest(f"model.base: scikit-learn cannot fit it to these rows: {what}") from error
        if not validation.num_rows:
            return []
        said = answered(self.pipeline, *column_input.of_table(validation))
        return self.told(said, validation["labels"].to_numpy())


def answered(pipeline: Any, numbers: Array, categories: Array) -> Array:
    """Probabilities (rows, classes) of a classifier, a number a row of another one; float64."""
    inputs = matrix(numbers, categories)
    said = pipeline.predict_proba(inputs) if hasattr(pipeline, "predict_proba") else pipeline.predict(inputs)
    return np.asarray(said, dtype=np.float64)


def estimator(told: Architecture, answer: Answer, *, seed: int) -> Any:
    """The class of that name with the recipe's settings, yet to be fitted. Raises BadRequest as pipeline() does."""
    name, settings = told.architecture, dict(told.settings)
    allowed = names(answer)
    if name not in allowed:
        raise BadRequest(
            f"model.base.architecture: there is no {name!r}. {near(name, allowed)}Allowed: {', '.join(allowed)}."
        )
    module, _, kind = str(getattr(KINDS[name], answer)).rpartition(".")
    made = getattr(importlib.import_module(f"sklearn.{module}"), kind)
    known = set(inspect.signature(made).parameters) - _NOT_A_USERS
    for key in settings:
        if key not in known:
            raise BadRequest(
                f"model.base.settings.{key}: scikit-learn's {kind} has no such setting here. {near(key, known)}"
                f"It has: {', '.join(sorted(known))}."
            )
    if "random_state" in known:
        settings.setdefault("random_state", seed)
    if kind == "LogisticRegression":
        settings.setdefault("max_iter", 1000)  # standardised numbers converge long before; the default of 100 warns
    if "novelty" in inspect.signature(made).parameters:
        settings["novelty"] = True  # of rows that it was not fitted to
    found = made(**settings)
    try:
        found._validate_params()
    except ValueError as error:
        raise BadRequest(f"model.base.settings: {' '.join(str(error).split())}") from None
    if answer == "label" and not hasattr(found, "predict_proba"):
        from sklearn.calibration import CalibratedClassifierCV

        return CalibratedClassifierCV(found, ensemble=False)  # Platt 1999: probabilities by cross-validation
    return found
