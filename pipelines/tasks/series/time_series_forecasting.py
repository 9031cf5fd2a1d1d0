"""time_series_forecasting: the last steps of one or several series -> the next ones, with prediction intervals.

PatchTST of transformers or an LSTM; a linear map, the last season, the last value. A row is a step: {"time":
"2016-07-01T00:00:00", "series": "north", "value": 30.5}; other columns of numbers may be named by `preprocess:`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.prepared import read_rows
from core.tables.task import Base, Place, Predictions, RowAnswers, Task
from pipelines.tasks.parts.answers import forecasts
from pipelines.tasks.parts.inputs import series

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from core.tables.learner import Learner, TorchLearner
    from pipelines.tasks.parts.forecasting.forecast_learner import ForecastPredictor
    from pipelines.tasks.parts.forecasting.forecaster import Shape


class TimeSeriesForecasting:
    contract = Contract(
        columns={
            series.WHEN: Column("time"),
            series.NAME: Column("category", required=False),
            series.VALUE: Column("number", required=False),
        },
        inputs=(series.VALUE,),
        key=(series.NAME, series.WHEN),
        named={"values": Column("number"), "covariates": Column("number")},
    )
    methods: Sequence[Method] = ("pretrain", "full")
    metrics = forecasts.METRICS
    primary = "mse"
    simple: Sequence[str] = ("last_value", "seasonal_naive", "linear")
    Preprocess: type[Section] = series.Options
    modules: Sequence[str] = ()

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        pretrain = {"epochs": 8.0, "batch_size": 64, "learning_rate": 5e-3}
        full = {"epochs": 3.0, "batch_size": 64, "learning_rate": 5e-4}
        return {"training": pretrain if method == "pretrain" else full}

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        assert isinstance(options, series.Options)
        series.prepare(batches, options, at.folder)

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        from pipelines.tasks.parts.forecasting.forecaster_base import config_of, with_dropout

        assert isinstance(options, series.Options)
        with_dropout(config_of(base, _shape(options)), model.dropout)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        return series.encode(rows, series.read(at.folder))

    def learner(self, model: Model, at: Place) -> Learner | TorchLearner:
        from pipelines.tasks.parts.forecasting import forecast_learner, forecaster_base
        from pipelines.tasks.parts.forecasting.simple_forecasts import SimpleLearner

        known = series.read(at.folder)
        shape = _shape(known)
        forecast_learner.check_validation(forecast_learner.windows_of(at.folder.parent, known), known)
        config = forecaster_base.with_dropout(forecaster_base.config_of(at.base, shape), model.dropout)
        module = forecaster_base.build(config, at.base, shape, seed=at.seed)
        simple = config["model_type"] in self.simple
        return SimpleLearner(module, known) if simple else forecast_learner.torch_learner(module, known)

    def save(self, learnt: Any, at: Place, *, into: Path, base: Path | None = None) -> None:
        from pipelines.tasks.parts.forecasting import forecast_learner, forecaster_base

        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        known = series.read(at.folder)
        validation = forecast_learner.windows_of(at.folder.parent, known)
        forecast_learner.write_intervals(forecast_learner.half_widths(learnt.module, validation, known), into)
        forecaster_base.save(learnt.module, into)

    def load(self, folder: Path) -> ForecastPredictor:
        from pipelines.tasks.parts.forecasting import forecast_learner, forecaster_base

        known = series.read(folder)
        return forecast_learner.predictor(forecaster_base.load(folder, _shape(known)), known, folder)

    def units(self, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        """Windows whose future lies in the test split; what was before may lie in the splits before it."""
        import pandas as pd

        from pipelines.tasks.parts.inputs.contexts import units

        known, before = series.read(folder), read_rows(folder.parent, "validation")
        if before[series.WHEN].nunique() < known.context:  # too few for a context
            before = pd.concat([read_rows(folder.parent, "train"), before])
        return units(rows, before, known)

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        import numpy as np

        from pipelines.tasks.parts.inputs.contexts import FUTURE

        known = series.read(at.folder)
        future = np.array(units[FUTURE].tolist()).reshape(len(units), known.horizon, len(known.values))
        return {"future": forecasts.flat(future, known), "coverage": np.full(len(units), known.coverage)}

    def measure(self, predictions: Predictions) -> Predictions:
        return forecasts.measure(predictions)

    def score(self, measured: Predictions, weights: np.ndarray[Any, Any]) -> dict[str, float]:
        return forecasts.score(measured, weights)

    def by_row(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> RowAnswers:
        return forecasts.by_row(predictions)

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        from pipelines.tasks.parts.forecasting import simple_forecasts

        known = series.read(at.folder)
        found = simple_forecasts.baselines(at.folder.parent, units, known, _shape(known))
        trivial = next(iter(found))
        return {name: said for name, said in found.items() if name == trivial or not at.base.starts(name)}

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        return dict.fromkeys(("forecast", "lower", "upper", "future"), forecasts.axis(series.read(folder)))

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        forecasts.plots(predictions, folder=folder, known=series.read(prepared))


def _shape(options: series.Options) -> Shape:
    from pipelines.tasks.parts.forecasting.forecaster import Shape

    return Shape(options.context, options.horizon, len(options.values), len(options.covariates), options.season)


TASK: Task = TimeSeriesForecasting()
