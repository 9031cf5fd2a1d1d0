"""What a task is: an object `TASK` that meets the Protocol below, in one file of pipelines/tasks/.

The stages know tasks only through it, and find them by listing that folder (pipelines/tasks/__init__.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, runtime_checkable

from core.errors import BadRequest
from core.schema.columns import Column, Contract
from core.schema.model import Architecture, Method, Model
from core.schema.section import Section
from core.tables.learner import Learner, TorchLearner

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from torch import Tensor


# Arrays whose first axis is the rows: what a model says about them ("probabilities": (rows, classes), ...), what is
# true ("label": (rows,)), and the statistics of both ("right": (rows,), ...) that metrics are computed from.
Predictions = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True)
class Base:
    """What training starts from: a folder of weights on this machine, or an architecture to be initialised."""

    reference: str | Architecture
    folder: Path | None
    sha256: str | None  # of the weights; None for an architecture

    @property
    def architecture(self) -> Architecture | None:
        return self.reference if isinstance(self.reference, Architecture) else None

    def starts(self, architecture: str) -> bool:
        """Whether training starts from this architecture."""
        return self.architecture is not None and self.architecture.architecture == architecture

    def refuse_settings(self) -> None:
        """Raise BadRequest where an architecture that has no settings was given some."""
        told = self.architecture
        if told is not None and (told.settings or told.tokenizer):
            raise BadRequest(f"model.base: {told.architecture} has no settings and no tokenizer. Leave them out.")


@dataclass(frozen=True)
class Place:
    """Where a task finds what it needs.

    folder: what prepare() learns; it writes there, all else reads it. media: what the paths of media are relative to.
    cache: a folder outside the outputs, for what is costly to compute; entries are named by their content.
    """

    folder: Path
    media: Path
    cache: Path
    base: Base
    seed: int


def as_sent(units: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The inputs of the units, as a caller would send them."""
    return units[[name for name in contract.inputs if name in units]].reset_index(drop=True)


class Predictor(Protocol):
    """A trained model, loaded. Evaluation and serving both ask it, so they cannot differ."""

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        """Predictions for rows that hold the contract's inputs; media paths are relative to `media`.

        Raises BadRequest for an input that is none.
        """

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        """The same as a person or an application wants it: one row an input (label, confidence ...)."""


@runtime_checkable
class OfFeatures(Protocol):
    """A Predictor whose inputs the recipe named: it knows what each of these columns holds."""

    features: Mapping[str, Column]


@dataclass(frozen=True)
class Interface:
    """How a module is called, for whoever runs it by something else than torch.

    inputs: an example, under the names that forward() takes; at least two along each axis that varies.
    axes: the same names -> one name an axis, None for one that is always as long. outputs: what is read of the result.
    """

    inputs: Mapping[str, Tensor]
    axes: Mapping[str, Sequence[str | None]]
    outputs: Sequence[str]


@runtime_checkable
class Exportable(Protocol):
    """A Predictor that can be exported: it asks `module` by keyword and reads nothing but `outputs` of what comes back.

    Then anything that is called alike may stand in the module's place (registry/version/onnx_graph.py).
    """

    module: Any

    def interface(self) -> Interface:
        """How predict() calls the module."""


@dataclass(frozen=True)
class LabelCounts:
    """Of each label: how often a model is right about it, how often it says it, and how often it is the true one."""

    right: np.ndarray[Any, Any]
    said: np.ndarray[Any, Any]
    true: np.ndarray[Any, Any]


@runtime_checkable
class ByLabel(Protocol):
    """A Task whose answers are labels: each label has a precision, a recall and an F1 of its own."""

    of_one_label: Sequence[str]  # the metrics that mean something on the rows of one true label

    def label_names(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> Sequence[str]:
        """The labels, in the order of label_counts(). predictions: joined with the truth. axes: as axes() has them."""

    def label_counts(self, measured: Predictions, weights: np.ndarray[Any, Any]) -> LabelCounts:
        """The counts of each label, (labels,), unit i counted weights[i] times. Fast, as score() is."""


@dataclass(frozen=True)
class RowAnswers:
    """What a model says of each unit, for people who look at single rows; every array has one entry a unit.

    error: how far the answer is from the truth, 0 where it is right. error_name: what it counts. said, true: in words,
    equal where two answers are the same; None where words have no room for them (a forecast) or the row itself says it.
    sure: how sure the model is, 0 to 1; None of one that does not say.
    """

    error: np.ndarray[Any, Any]
    error_name: str
    said: Sequence[str] | None = None
    true: Sequence[str] | None = None
    sure: np.ndarray[Any, Any] | None = None


@runtime_checkable
class ByRow(Protocol):
    """A Task that says of each unit by itself what was answered and how wrong that is."""

    def by_row(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> RowAnswers:
        """predictions: joined with the truth. axes: as axes() has them."""


@runtime_checkable
class Foreseeing(Protocol):
    """A task that says of the settings alone what it would refuse once there are rows: then nobody waits for them."""

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        """Raise BadRequest, its message beginning with the key that is wrong. options: as prepare() gets them."""


LABEL = "label"  # in the names of gates, METRIC[label=X]: a label's figure, or a slice by the column of that name


def says_labels(task: Task, slices: Collection[str]) -> TypeGuard[ByLabel]:
    """Whether METRIC[label=X] is about a label X, and not about a slice by a column `label` of something else."""
    return isinstance(task, ByLabel) and (LABEL not in slices or task.contract.label == LABEL)


class Task(Protocol):
    contract: Contract
    methods: Sequence[Method]
    metrics: Mapping[str, bool]  # name -> True when more is better
    primary: str
    Preprocess: type[Section]  # the options of a recipe's `preprocess:`
    simple: Sequence[str]  # baselines that can be the model too: architectures of these names
    modules: Sequence[str]  # importable modules that need an extra of pyproject.toml (checked before work starts)

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        """Sections of a recipe, as far as this task has defaults of its own for the method."""

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        """Learn from the training rows what encoding needs (labels, tokenizer ...) and write it into at.folder.

        batches: the rows in their order, some thousand at a time; each iteration begins anew. options: the recipe's
        `preprocess:`, as Preprocess.
        """

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        """Features of some rows, as written into prepared/*.arrow: one feature row a row.

        Where it is not, a column `of` says which of the rows each feature row belongs to.
        """

    def learner(self, model: Model, at: Place) -> Learner | TorchLearner:
        """What is to be trained: a module and how it learns, or what fits itself."""

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        """Write all that load() needs, weights as safetensors; reading it back needs no network.

        learnt: what learner() returned, after training.
        base: an empty folder for what came from the base and was not trained; it is kept once for all models that
        add to it, and core/weights/base_store.py finds it again. None: everything goes into `into`.
        """

    def load(self, folder: Path) -> Predictor:
        """What save() left. Raises BadRequest or BadData when the base that it needs is missing or another."""

    def units(self, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        """What is evaluated of the test rows, each with a row_id of its own and the inputs as a caller sends them.

        Mostly the rows themselves; of a time series a row for each window.
        """

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        """What is true about the units ("label" ...), in the numbering of prepare()."""

    def measure(self, predictions: Predictions) -> Predictions:
        """The statistics of each unit that score() needs, from predictions joined with the truth."""

    def score(self, measured: Predictions, weights: np.ndarray[Any, Any]) -> dict[str, float]:
        """Every metric, unit i counted weights[i] times. Fast: a gate calls it with some thousand weights."""

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        """What simple methods predict for the units; the first is the trivial one (majority class ...).

        Where the base that training started from could answer already, it is one of them.
        """

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        """Names along the second axis of two-dimensional predictions: they name columns of predictions.parquet."""

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        """Write pictures (PNG) of the predictions into folder."""
