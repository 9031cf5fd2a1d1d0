"""The task as a whole: beside scikit-learn itself, rows of each kind through the stages, faults planted."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from core.atomic_files import sha256_file
from core.errors import BadData, BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from core.schema.model import Architecture, Model, Training
from core.tables.learner import TorchLearner
from core.tables.prepared import ENCODER, read_features, read_rows
from core.tables.statistics import whole
from core.tables.task import Predictions
from core.workspace import Job
from core.workspace import Workspace as Root
from flows.starting.choose import Wishes, choose
from flows.starting.look import look
from pipelines.place import place_of
from pipelines.tasks import find_task
from pipelines.tasks.parts.anomalies import detectors
from pipelines.tasks.parts.anomalies.vectors import Options
from pipelines.tasks.parts.tables import estimators
from pipelines.train.train import train
from registry.version.answerer import load_answerer
from registry.version.trial import same
from tests.conftest import Workspace
from tests.places import a_place
from tests.samples.anomaly_detection import machine_rows
from tests.small_table import base_of, small_workspace, through

pytestmark = pytest.mark.usefixtures("one_thread")

TASK = find_task("anomaly_detection")
TABLE = (
    "task: anomaly_detection\ndata: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "preprocess: {numbers: [load, heat], categories: [mode], contamination: 0.2}\n"
    "model: {base: {architecture: z_score}}\n"
)
SERIES = (
    "task: anomaly_detection\n"
    "data: {source: rows.csv, split: {time: time, train: 0.5, validation: 0.2, test: 0.3}}\n"
    "preprocess: {values: [heat], context: 6, anomalous_times: [['2024-02-12T00:00', '2024-02-12T05:00']]}\n"
    "model: {base: {architecture: mahalanobis}}\n"
)
PICTURES = (
    "task: anomaly_detection\n"
    "data: {source: pictures, reader: labelled_folders, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "preprocess: {pictures: true, normal: [striped]}\nmodel: {base: {architecture: pca}}\n"
)
NAMES = estimators.names("anomaly")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    made = small_workspace(tmp_path / "workspace")
    monkeypatch.chdir(made.root)
    return made


def steps(count: int = 288) -> list[dict[str, Any]]:
    """Twelve days of a machine's heat, hour by hour; in the first hours of the last day it stands still."""
    random = np.random.default_rng(4)
    heat = [math.sin(at * math.pi / 6) + 0.05 * random.normal() for at in range(count)]
    heat[264:270] = [0.9] * 6
    return [{"time": f"2024-02-{1 + at // 24:02}T{at % 24:02}:00", "heat": each} for at, each in enumerate(heat)]


def learnt(job: Job, name: str, into: Path, **settings: Any) -> Any:
    """A predictor of what a detector learns of a recipe's rows, saved into a folder and loaded."""
    base = base_of(name, **settings)
    at = a_place(job.folder / "prepared" / ENCODER, base=base, media=job.folder / "raw")
    learner = TASK.learner(Model(base=base.reference, method="pretrain"), at)
    if isinstance(learner, TorchLearner):
        train(learner, Training(epochs=20, batch_size=32, learning_rate=1e-2), prepared=job.folder / "prepared",
              listen=lambda step, metrics: None)  # fmt: skip
    else:
        learner.fit(
            read_features(job.folder / "prepared", "train"), read_features(job.folder / "prepared", "validation")
        )
    into.mkdir(parents=True)
    TASK.save(learner, at, into=into)
    return TASK.load(into)


def asked(job: Job, predictor: Any) -> tuple[pd.DataFrame, dict[str, float]]:
    """The evaluated units with the predictor's answers beside them, and the metrics."""
    at = place_of(job, seed=0)
    units = TASK.units(read_rows(job.folder / "prepared", "test"), at.folder).reset_index(drop=True)
    said = predictor.predict(units, at.media)
    scores = whole(TASK.score, TASK.measure({**said, **TASK.truth(units, at)}))
    return units.join(predictor.answers(said), rsuffix="_said"), dict(scores)


def served(job: Job, model: Path, inputs: list[dict[str, Any]]) -> pd.DataFrame:
    """What a version of the model answers to a caller from elsewhere."""
    contract, about = job.section("examples", Contract), model.parent / "about.json"
    told = {"task": "anomaly_detection", "inputs": contract.inputs, "media": contract.media_sent}
    about.write_text(json.dumps(told))
    return load_answerer(model, about).answer(pd.DataFrame(inputs), local_files=False)


@pytest.mark.parametrize("name", NAMES)
def test_each_detector_finds_what_goes_against_its_neighbours_and_says_where(name: str, workspace: Workspace) -> None:
    """Equal trainings give equal bytes without pickle; a category that nobody saw is what is odd about a row."""
    job = through(workspace, TABLE, machine_rows(), to="preprocess")
    settings = {"hidden_sizes": [16], "code_size": 2} if name in detectors.NETWORKS else {}
    folders = [workspace.root / each for each in ("first", "again")]
    predictor, _ = (learnt(job, name, folder, **settings) for folder in folders)
    one, two = ({path.name: sha256_file(path) for path in sorted(folder.iterdir())} for folder in folders)
    assert one == two
    assert {Path(file).suffix for file in one} <= {".json", ".skops", ".safetensors"}
    rows = pd.DataFrame([{"load": 0.1, "heat": 0.2, "mode": "day"}, {"load": 9, "heat": -9, "mode": "night"}])
    answers = predictor.answers(predictor.predict(rows))
    assert answers["label"].tolist() == ["normal", "anomaly"]
    assert answers["score"][1] > 1 > answers["score"][0]
    assert answers["because"][1][0]["input"] in ("load", "heat")
    odd = predictor.predict(pd.DataFrame([{"load": None, "heat": 0.0, "mode": "dusk"}]))
    if name != "z_score":  # scales nothing that no training row has
        assert predictor.answers(odd)["because"][0][0]["input"] == "mode"
    assert asked(job, predictor)[1]["roc_auc"] > (0.6 if name == "z_score" else 0.8)


def test_scores_are_scikit_learns_own() -> None:
    random = np.random.default_rng(0)
    train, rows = (random.normal(size=(count, 5)) @ random.normal(size=(5, 5)) for count in (300, 20))
    part, mean, deviation = np.array([0, 0, 1, 2, 2]), train.mean(axis=0), train.std(axis=0)
    scaled = (rows - mean) / deviation
    found = {
        name: detectors.scored(
            name, detectors.fit(Architecture(architecture=name, settings=settings), train, seed=0), rows, part
        )
        for name, settings in (("mahalanobis", {}), ("pca", {"n_components": 2}), ("z_score", {}))
    }
    own = LedoitWolf().fit((train - mean) / deviation).mahalanobis(scaled)
    np.testing.assert_allclose(found["mahalanobis"][0], own)
    kept = PCA(2).fit((train - mean) / deviation)
    left = scaled - kept.inverse_transform(kept.transform(scaled))
    np.testing.assert_allclose(found["pca"][1][:, 1], left[:, 2] ** 2 / 5)
    np.testing.assert_allclose(found["z_score"][0], np.abs(scaled).max(axis=1))
    for name in ("mahalanobis", "pca"):
        np.testing.assert_allclose(found[name][1].sum(axis=1), found[name][0])


def test_metrics_are_scikit_learns_and_weights_are_repeated_rows() -> None:
    random = np.random.default_rng(1)
    true = random.random(200) < 0.2
    score = np.round(random.normal(size=200) + true, 1)  # some are equal
    said: Predictions = {"score": score, "anomaly": score > 1, "true": true}
    times = random.integers(0, 3, 200)
    for repeated in (np.ones(200, int), times):
        labels, scores = true.repeat(repeated), score.repeat(repeated)
        assert TASK.score(TASK.measure(said), repeated.astype(float)) == pytest.approx(
            {
                "roc_auc": roc_auc_score(labels, scores),
                "average_precision": average_precision_score(labels, scores),
                "f1": f1_score(labels, scores > 1),
            }
        )
    assert TASK.score(TASK.measure({**said, "true": np.zeros(200, bool)}), np.ones(200))["roc_auc"] == 0.5


def test_nothing_is_learnt_of_known_anomalies_and_rows_without_a_label_are_learnt_but_not_judged(
    workspace: Workspace,
) -> None:
    rows = [{**row, "label": "" if at % 3 else row["label"]} for at, row in enumerate(machine_rows())]
    job = through(workspace, TABLE, rows, to="preprocess")
    labels = read_rows(job.folder / "prepared", "train")["label"]
    assert read_features(job.folder / "prepared", "train").num_rows == (labels != "broken").sum() < len(labels)
    units, _ = asked(job, learnt(job, "mahalanobis", workspace.root / "model"))
    assert set(units["label"]) == {"broken", "normal"}
    test = read_rows(job.folder / "prepared", "test")
    assert len(units) == (test["label"] != "").sum() < len(test)


def test_a_series_is_judged_by_windows_and_a_stretch_of_it_is_named(workspace: Workspace) -> None:
    job = through(workspace, SERIES, steps(), to="preprocess")
    predictor = learnt(job, "mahalanobis", workspace.root / "model")
    units, scores = asked(job, predictor)
    assert units["label"].tolist().count("anomaly") >= 1
    assert scores["roc_auc"] == 1
    assert {len(value) for value in units["value"]} == {6}
    flat = predictor.answers(predictor.predict(pd.DataFrame({"value": [[0.9] * 9]})))
    assert flat["label"][0] == "anomaly" and flat["because"][0][0]["input"].endswith("of 6")
    pd.testing.assert_frame_equal(served(job, workspace.root / "model", [{"value": [0.9] * 9}]), flat)
    with pytest.raises(BadRequest, match="input 1: value has 2 steps"):
        predictor.predict(pd.DataFrame({"value": [[1.0, 2.0]]}))


def test_no_window_holds_an_anomalous_step_or_reaches_across_a_missing_one(workspace: Workspace) -> None:
    rows = [row for row in steps() if row["time"] != "2024-02-02T11:00"]
    recipe = SERIES.replace("[['2024-02-12", "[['2024-02-03T00:00', '2024-02-03T01:00'], ['2024-02-12")
    job = through(workspace, recipe, rows, to="preprocess")
    encoded = read_features(job.folder / "prepared", "train")
    at = a_place(job.folder / "prepared" / ENCODER, base=base_of("autoencoder"))
    learner = TASK.learner(Model(base=at.base.reference, method="pretrain"), at)
    assert isinstance(learner, TorchLearner)
    whole_days = len(read_rows(job.folder / "prepared", "train")) - 2
    assert encoded.num_rows == whole_days
    assert learner.features(encoded).num_rows == whole_days - 3 * 5  # three runs, six steps a window


def test_pictures_are_judged_and_a_field_of_them_is_named(workspace: Workspace) -> None:
    random = np.random.default_rng(2)
    for at in range(120):
        pixels = np.tile(np.array([40, 200], np.uint8), (12, 6)) + random.integers(0, 20, (12, 12)).astype(np.uint8)
        label = "striped" if at % 5 else "broken"
        if label == "broken":
            pixels[:3, :3] = 120
        file = workspace.path("pictures", label, f"{at}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    job = through(workspace, PICTURES, machine_rows(5), to="preprocess")
    units, scores = asked(job, learnt(job, "pca", workspace.root / "model"))
    assert scores["roc_auc"] > 0.95
    broken = units[units["label"] == "broken"]
    assert {each[0]["input"] for each in broken["because"]} == {"rows 1 to 3, columns 1 to 3 of 12"}
    content = base64.b64encode((job.folder / "raw" / broken["path"].iloc[0]).read_bytes()).decode()
    said = served(job, workspace.root / "model", [{"path": content}])
    assert same(said["because"][0], broken["because"].iloc[0])


@pytest.mark.parametrize(
    ("recipe", "change", "words"),
    [
        (TABLE, {"heat": 1}, "'heat' is 1.0 in every row: it tells no row from another"),
        (TABLE, {"label": "odd"}, "no training row is normal: preprocess.normal says normal, and the labels are odd"),
        (TABLE, {"label": "normal"}, "no test row is an anomaly by their labels and preprocess.normal"),
        (TABLE, {"label": ""}, "no test row has a label, so nothing says how good a model is"),
        (SERIES, {"heat": 1}, "the column 'heat' is 1 in every normal training row"),
    ],
)
def test_rows_that_nothing_can_be_learnt_from_are_refused(
    recipe: str, change: dict[str, Any], words: str, workspace: Workspace
) -> None:
    rows = machine_rows() if recipe == TABLE else steps()
    with pytest.raises(BadData, match=words):
        through(workspace, recipe, [{**row, **change} for row in rows], to="preprocess")


@pytest.mark.parametrize(
    ("recipe", "row", "words"),
    [
        (TABLE, {"heat": "hot"}, "not a number"),
        (TABLE, {"heat": "-inf"}, "not a finite number"),
        (SERIES, {"heat": "", "time": "2024-02-20T00:00"}, "heat is missing"),
        (SERIES, {"heat": "inf", "time": "2024-02-20T00:00"}, "not a finite number"),
        (SERIES, {"heat": 7.0}, "heat"),  # the first step once more, with another value
    ],
)
def test_a_faulty_row_is_set_aside_and_clean_ones_are_not(
    recipe: str, row: dict[str, Any], words: str, workspace: Workspace
) -> None:
    rows = machine_rows() if recipe == TABLE else steps()
    job = through(workspace, recipe, [*rows, {**rows[0], **row}], to="validate")
    found = pq.read_table(job.folder / "validated" / "quarantine.parquet").to_pylist()
    assert len(found) == (2 if words == "heat" else 1), "of two values of one step none can be believed"
    assert all(words in each["reason"] for each in found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "say what a row is"),
        ({"numbers": ["a"], "values": ["b"]}, "say what a row is"),
        ({"values": ["a", "a"]}, "name 'a' twice"),
        ({"numbers": ["a"], "anomalous_times": [["2024-01-01", "2024-01-02"]]}, "anomalous_times are of a series"),
        ({"values": ["a"], "anomalous_times": [["2024-01-02", "2024-01-01"]]}, "the earlier one first"),
        ({"values": ["a"], "anomalous_times": [["then", "2024-01-01"]]}, "must be two times"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Options.model_validate(options)


def test_new_writes_a_recipe_only_where_it_is_asked_for(workspace: Workspace) -> None:
    """A table with labels is for tabular_classification, unless a person says that what is odd is looked for."""
    workspace.write_rows(machine_rows())
    seen = look(Root(workspace.root), Data(source="rows.csv"))
    assert choose(seen, Wishes()).task == "tabular_classification"
    choice = choose(seen, Wishes("anomaly_detection"))
    assert choice.preprocess == {"numbers": ["load", "heat"], "categories": ["mode"]}
    assert choice.model["base"]["architecture"] in NAMES
