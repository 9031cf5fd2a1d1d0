"""The task as a whole: through the stages, with faults planted, and its models saved, loaded and exported."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

from core.errors import BadData
from core.schema.model import Architecture, Model
from core.tables.learner import TorchLearner
from core.tables.predictions import read_predictions
from core.tables.prepared import ENCODER, ROWS, write_features
from core.tables.statistics import whole
from core.tables.task import Base, Exportable, Place
from pipelines.register.onnx_export import compared
from pipelines.tasks import find_task
from registry.version.onnx_choice import exchanged
from registry.version.onnx_graph import export, opened
from tests.conftest import Workspace, make_workspace
from tests.places import a_place

TASK = find_task("time_series_forecasting")
OPTIONS = {"context": 12, "horizon": 4, "season": 6, "stride": 1, "values": ["load", "heat"], "covariates": ["wind"]}
SETTINGS: dict[str, dict[str, Any]] = {
    "lstm": {"hidden_size": 4},
    "patchtst": {"patch_length": 4, "patch_stride": 4, "d_model": 8, "num_hidden_layers": 1, "ffn_dim": 8},
    "gru": {"hidden_size": 8},
    "time_series_transformer": {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1},
    "linear": {},
    "seasonal_naive": {},
    "last_value": {},
}


def steps(count: int, name: str = "north") -> list[dict[str, Any]]:
    """Two waves and noise, hour by hour."""
    random = np.random.default_rng(sum(name.encode()))
    return [
        {
            "series": name,
            "time": f"2016-07-{1 + at // 24:02}T{at % 24:02}:00:00",
            "load": 10 + math.sin(at * math.pi / 3) + 0.1 * random.normal(),
            "heat": 3 * math.cos(at * math.pi / 3) + 0.1 * random.normal(),
            "wind": random.normal(),
        }
        for at in range(count)
    ]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What preprocess leaves of two series, made without its stage."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / ENCODER).mkdir()
    rows = pd.concat([pd.DataFrame(steps(300, name)) for name in ("north", "south")], ignore_index=True)
    times = sorted(rows["time"].unique())
    rows["split"] = ["train" if t < times[160] else "validation" if t < times[230] else "test" for t in rows["time"]]
    rows["row_id"] = rows["series"] + rows["time"]
    rows.to_parquet(folder / ROWS)
    at = a_place(folder / ENCODER, base=base_of("last_value"))
    TASK.prepare([rows[rows["split"] == "train"]], TASK.Preprocess.model_validate(OPTIONS), at)
    for split in ("train", "validation", "test"):
        table = TASK.encode(rows[rows["split"] == split], at)
        write_features(folder, split, table.schema, [table])
    return folder


def base_of(name: str) -> Base:
    return Base(Architecture(architecture=name, settings=SETTINGS[name]), None, None)


def place(prepared: Path, base: Base) -> Place:
    return a_place(prepared / ENCODER, base=base)


def made(prepared: Path, into: Path, name: str) -> Path:
    """A model of one architecture, fitted where that is one call, as `train` saves it."""
    at = place(prepared, base_of(name))
    learner = TASK.learner(Model(base=at.base.reference, method="pretrain"), at)
    if not isinstance(learner, TorchLearner):
        tables = [pa.ipc.open_file(prepared / f"{split}.arrow").read_all() for split in ("train", "validation")]
        assert learner.fit(*tables) == []
    into.mkdir()
    TASK.save(learner, at, into=into)
    return into


def units(prepared: Path) -> pd.DataFrame:
    rows = pq.read_table(prepared / ROWS, filters=[("split", "=", "test")]).to_pandas()
    return TASK.units(rows, prepared / ENCODER)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_model_is_saved_loaded_and_exported(name: str, prepared: Path, tmp_path: Path) -> None:
    """Safetensors and JSON alone, the same predictions from the graph, and no row that others change."""
    model = made(prepared, tmp_path / "model", name)
    assert {path.suffix for path in model.iterdir()} == {".json", ".safetensors"}
    predictor, asked = TASK.load(model), units(prepared)
    said = predictor.predict(asked)
    assert said["forecast"].shape == (2 * 67, 8)
    alone = predictor.predict(asked.iloc[[5]])
    np.testing.assert_allclose(alone["forecast"][0], said["forecast"][5], atol=1e-6)
    assert isinstance(predictor, Exportable) == (name != "time_series_transformer"), "it says step after step"
    if not isinstance(predictor, Exportable):
        return
    interface = predictor.interface()
    graph = export(predictor.module, interface)
    other = exchanged(predictor, opened(graph, predictor.module.state_dict(), interface.outputs))
    told = compared(predictor, other.predict(asked), said)
    assert told["rows"] == len(asked)
    assert told["answers_differ"] == 0
    assert told["max_difference"] < 1e-5


def test_answers_are_in_the_rows_own_measure(prepared: Path, tmp_path: Path) -> None:
    """The last value says what was sent last; intervals are around it, as wide at each step as conformal says."""
    predictor, asked = TASK.load(made(prepared, tmp_path / "model", "last_value")), units(prepared)
    answers = predictor.answers(predictor.predict(asked))
    assert list(answers.columns) == ["forecast", "lower", "upper"]
    for sent, forecast, lower, upper in zip(asked["value"], *(answers[name] for name in answers), strict=True):
        for name in ("load", "heat"):
            assert forecast[name] == pytest.approx([sent[name][-1]] * 4, abs=1e-5)
            assert all(
                low < value < high for low, value, high in zip(lower[name], forecast[name], upper[name], strict=True)
            )
    assert json.loads(json.dumps(answers.to_dict("records"))) == answers.to_dict("records")


def test_intervals_hold_what_they_should_on_waves(prepared: Path, tmp_path: Path) -> None:
    """Least squares forecast waves with noise to the noise, and 90 % lie inside: exchangeable, so they should."""
    predictor, asked = TASK.load(made(prepared, tmp_path / "model", "linear")), units(prepared)
    truth = TASK.truth(asked, place(prepared, base_of("linear")))
    scores = whole(TASK.score, TASK.measure({**predictor.predict(asked), **truth}))
    assert scores["coverage_error"] < 0.05
    assert scores["mse"] < 0.1


def test_a_trained_model_can_go_on(prepared: Path, tmp_path: Path) -> None:
    """`full` begins with the weights of a saved model; one of another horizon is refused when it is prepared."""
    model = made(prepared, tmp_path / "model", "patchtst")
    base = Base("./model", model, "0" * 64)
    again = TASK.learner(Model(base="./model", method="full"), place(prepared, base))
    assert isinstance(again, TorchLearner)
    loaded: Any = TASK.load(model)
    for name, value in loaded.module.state_dict().items():
        torch.testing.assert_close(again.module.state_dict()[name], value)


def test_too_few_validation_windows_are_told_before_training(prepared: Path, tmp_path: Path) -> None:
    """Eight steps of validation and a horizon of 4: 2 x 5 windows; intervals of 95 % need 19."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    known = json.loads((tmp_path / ENCODER / "series.json").read_text())
    (tmp_path / ENCODER / "series.json").write_text(json.dumps({**known, "coverage": 0.95}))
    rows = pa.ipc.open_file(tmp_path / "validation.arrow").read_all()
    first = rows.filter(pc.less_equal(rows["time"], pc.add(pc.min(rows["time"]), 7 * 3600.0)))
    write_features(tmp_path, "validation", first.schema, [first])
    at = place(tmp_path, base_of("lstm"))
    with pytest.raises(BadData, match="intervals of 95% are made of at least 19 validation windows, and there are 10"):
        TASK.learner(Model(base=at.base.reference, method="pretrain"), at)


def test_contexts_reach_over_a_short_validation_split(prepared: Path, tmp_path: Path) -> None:
    """The first window of the test is as it would be if validation and training were one split."""
    rows = pq.read_table(prepared / ROWS).to_pandas()
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    late = (rows["split"] == "validation") & (rows["time"] < rows.loc[rows["split"] == "test", "time"].min())
    cut = sorted(rows.loc[late, "time"].unique())[-5]
    rows.loc[late & (rows["time"] < cut), "split"] = "train"
    rows.to_parquet(tmp_path / ROWS)
    pd.testing.assert_frame_equal(units(tmp_path), units(prepared))


def test_plots_are_drawn(prepared: Path, tmp_path: Path) -> None:
    predictor, asked = TASK.load(made(prepared, tmp_path / "model", "linear")), units(prepared)
    truth = TASK.truth(asked, place(prepared, base_of("linear")))
    TASK.plots({**predictor.predict(asked), **truth}, folder=tmp_path, prepared=prepared / ENCODER)
    assert {path.name for path in tmp_path.glob("*.png")} == {"error.png", "forecasts.png"}


@pytest.fixture(scope="module")
def went(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which every stage but `register` went over series with faults."""
    workspace = make_workspace(tmp_path_factory.mktemp("series") / "workspace")
    rows: list[dict[str, Any]] = [*steps(120), *steps(120, "south")]
    rows[7] = {**rows[7], "load": "much"}
    rows[9] = {**rows[9], "heat": ""}
    rows[11] = {**rows[11], "time": "noon"}
    rows.append({**rows[20], "time": rows[20]["time"].replace("T", " ")})
    workspace.write_rows(rows)
    workspace.write(
        "recipes/tiny.yaml",
        "task: time_series_forecasting\n"
        "data:\n  source: rows.csv\n"
        '  split: {time: time, gap: 1, cuts: {validation: "2016-07-03", test: "2016-07-04"}}\n'
        "preprocess: {context: 12, horizon: 4, season: 6, values: [load, heat], covariates: [wind]}\n"
        "contract: {bad_rows: quarantine, at_most: 0.1}\n"
        "model:\n  base: {architecture: patchtst, settings: {patch_length: 4, patch_stride: 4, d_model: 8}}\n"
        "  method: pretrain\n"
        "training: {epochs: 1}\n"
        "evaluation: {slices: [series]}\n",
    )
    workspace.write("recipes/tiny.lock", "source: {kind: path}\nbases: {}\nreference: null\n")
    workspace.live(recipes={"tiny": {"task": "time_series_forecasting", "watch": "recipes/tiny.yaml"}})
    for stage in ("settings", "collect", "validate", "preprocess", "train", "evaluate"):
        done = workspace.stage(stage, "tiny")
        assert done.returncode == 0, done.stderr
    return workspace


@pytest.mark.slow
def test_faults_are_set_aside_and_the_same_time_twice_is_a_duplicate(went: Workspace) -> None:
    quarantine = pq.read_table(went.path("data/models/tiny/validated/quarantine.parquet")).to_pylist()
    reasons = sorted(row["reason"] for row in quarantine)
    assert len(reasons) == 3
    assert "load: not a number: 'much'" in reasons[0]
    assert "time: not a time (a date of ISO 8601, or a number): 'noon'" in reasons[1]
    assert "heat is missing" in reasons[2]
    facts = json.loads(went.path("data/models/tiny/prepared/statistics.json").read_text())
    assert facts["duplicates_dropped"] == 1
    assert facts["left_out"] == {"gap": 4, "after_end": 0, "no_time": 0}
    assert facts["rows"] == {"train": 2 * 47 - 3, "validation": 2 * 23, "test": 2 * 48}


@pytest.mark.slow
def test_every_window_is_evaluated_under_its_series_and_time(went: Workspace) -> None:
    """A gap lies before the test, so windows begin in it; five steps apart, for a horizon of 4 and a season of 6."""
    answered = read_predictions(went.path("data/models/tiny/evaluation/predictions.parquet"))
    times = [f"2016-07-{4 + hour // 24:02}T{hour % 24:02}:00:00" for hour in range(12, 45, 5)]
    assert sorted(answered.row_ids) == [f"{name} {time}" for name in ("north", "south") for time in times]
    assert list(answered.baselines) == ["last_value", "seasonal_naive", "linear"]
    report = json.loads(went.path("data/models/tiny/evaluation/metrics.json").read_text())
    assert set(TASK.metrics) <= report.keys()
