"""What a task says whose input is a row of a table, whatever it answers: options, models by name, their files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.schema.model import Architecture, Method, Model
from core.schema.section import Section
from core.tables.learner import History, Learner, TorchLearner
from core.tables.task import Base, Interface, Place, Predictor
from pipelines.tasks.parts.tables import column_input, estimators
from pipelines.tasks.parts.tables.column_input import Array, Columns, Options

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


class FromColumns:
    """answer: what the models say. The methods below the line of each task are core/tables/task.py's."""

    answer: estimators.Answer
    simple: Sequence[str]
    methods: Sequence[Method] = ("pretrain",)
    Preprocess: type[Section] = Options
    modules: Sequence[str] = ()
    watch: Any = None  # as TorchLearner has it

    def network(self, model: Model, known: Columns, at: Place) -> Any:
        """The module to train."""
        raise NotImplementedError

    def told(self, said: Array, labels: Array) -> History:
        """What a model that was fitted in one go says of the validation rows, beside what is true."""
        raise NotImplementedError

    def predictor(self, model: Any, known: Columns, folder: Path, *, network: bool) -> Predictor:
        """Who asks a fitted estimator, or a network."""
        raise NotImplementedError

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        raise NotImplementedError

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        training = {"epochs": 20.0, "batch_size": 64, "learning_rate": 2e-3}
        return {"model": {"method": "pretrain"}, "training": training}

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        estimators.check(model, base, self.answer)

    def learner(self, model: Model, at: Place) -> Learner | TorchLearner:
        estimators.check(model, at.base, self.answer)
        if not at.base.starts(estimators.NETWORK):
            assert at.base.architecture is not None
            return self.estimator(at.base.architecture, at)
        from pipelines.tasks.parts.tables import column_network

        module = self.network(model, column_input.read(at.folder), at)
        return TorchLearner(module, column_network.collate, watch=self.watch, labels=module.labels)

    def estimator(self, told: Architecture, at: Place) -> estimators.EstimatorLearner:
        """An estimator of scikit-learn, yet to be fitted."""
        pipeline = estimators.pipeline(told, column_input.read(at.folder), self.answer, seed=at.seed)
        return estimators.EstimatorLearner(pipeline, self.told)

    def simple_answers(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Array:
        """What the simple model says of the units, fitted to the training rows."""
        learner, encoded = self.estimator(Architecture(architecture=self.simple[0]), at), self.encode(train, at)
        learner.fit(encoded, encoded[:0])
        return estimators.answered(learner.pipeline, *column_input.arrays(units, column_input.read(at.folder)))

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        from pipelines.tasks.parts.tables import column_network, estimator_file

        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        if isinstance(learnt, TorchLearner):
            column_network.save(learnt.module, into)
        else:
            assert isinstance(learnt, estimators.EstimatorLearner)
            estimator_file.save(learnt.pipeline, into)

    def load(self, folder: Path) -> Predictor:
        from pipelines.tasks.parts.tables import estimator_file

        known = column_input.read(folder)
        if estimator_file.is_kept(folder):
            return self.predictor(estimator_file.load(folder), known, folder, network=False)
        from pipelines.tasks.parts.tables import column_network

        return self.predictor(column_network.load(folder, known), known, folder, network=True)


class ColumnAsker:
    """Asks an estimator about rows. features: the columns that are sent."""

    def __init__(self, model: Any, known: Columns) -> None:
        self.module, self.known, self.features = model, known, known.features

    def said(self, rows: pd.DataFrame) -> Array:
        return estimators.answered(self.module, *column_input.arrays(rows, self.known))


class NetworkAsker(ColumnAsker):
    """Asks a network, which can be exported."""

    def said(self, rows: pd.DataFrame) -> Array:
        """Logits, or numbers: (rows, outputs)."""
        from pipelines.tasks.parts.tables import column_network

        return column_network.logits(self.module, *column_input.arrays(rows, self.known))

    def interface(self) -> Interface:
        from pipelines.tasks.parts.tables import column_network

        return column_network.interface(self.known)
