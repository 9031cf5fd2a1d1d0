"""A wave."""

from __future__ import annotations

import math

from core.schema.model import Architecture
from tests.conftest import Workspace
from tests.samples import Sample


def _steps(workspace: Workspace) -> None:
    rows = [
        {"time": f"2016-07-{1 + at // 24:02}T{at % 24:02}:00", "value": math.sin(at * math.pi / 3)} for at in range(200)
    ]
    workspace.write_rows([*rows, {"time": "yesterday", "value": 1.0}])


SAMPLE = Sample(
    _steps,
    "task: time_series_forecasting\n"
    "data: {source: rows.csv, split: {time: time, train: 0.6, validation: 0.2, test: 0.2, gap: 1}}\n"
    "preprocess: {context: 12, horizon: 4, season: 6, stride: 1}\n"
    "model: {base: {architecture: lstm}, method: pretrain}\n",
    "not a time",
    Architecture(architecture="lstm", settings={"hidden_size": 16}),
    said=lambda said: said["forecast"],
    expected=lambda module, batch, units: module(past=batch["past"]).forecast.flatten(1),
    like=[{"day": f"2024-01-{at:02d}", "sales": at} for at in range(1, 20)],
)
