"""The task as a whole: beside scikit-learn itself, through the stages with faults planted, saved and loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import skops.io
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from core.atomic_files import sha256_file
from core.errors import BadData, BadRequest
from core.schema.model import Model
from core.schema.reading import BadSettings
from core.tables.statistics import whole
from pipelines.recipes.read import read_recipe
from pipelines.tasks import find_task
from pipelines.tasks.parts.answers import label_ranks
from pipelines.tasks.parts.tables import estimator_file, estimators
from pipelines.validate.feature_faults import CONSTANT, DISGUISED, ID, FeatureFaults
from tests.conftest import ROOT, Workspace
from tests.small_table import OPTIONS, Row, base_of, fitted, folds, said_by_folds, small_workspace, table_rows, through

pytestmark = pytest.mark.usefixtures("one_thread")

TASK = find_task("tabular_classification")
RECIPE = (
    "task: tabular_classification\ndata: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "preprocess: {numbers: [size, width], categories: [color], dates: [day]}\n"
    "model: {base: {architecture: logistic_regression}}\n"
)
ESTIMATORS = [name for name in estimators.names("label") if name != estimators.NETWORK]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return small_workspace(tmp_path_factory.mktemp("tabular") / "workspace")


@pytest.fixture(autouse=True)
def here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.root)


def breast_cancer() -> tuple[pd.DataFrame, Row]:
    data = load_breast_cancer(as_frame=True)
    rows = data.data.assign(label=data.target.astype(str))
    return rows, {"numbers": list(data.data.columns)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic_regression", "gradient_boosting"])
def test_it_is_as_good_as_scikit_learn_by_itself(name: str, tmp_path: Path) -> None:
    """Ten folds of breast cancer: within a point of scikit-learn's own cross-validated accuracy."""
    rows, options = breast_cancer()
    said = said_by_folds(TASK, base_of(name), rows, options, tmp_path, 10)
    mine = np.mean([(each["probabilities"].argmax(axis=1) == fold["label"].astype(int)).mean() for each, fold in said])
    own = {
        "logistic_regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "gradient_boosting": HistGradientBoostingClassifier(random_state=0),
    }[name]
    fold_of = np.empty(len(rows), int)
    for at, (_, test) in enumerate(folds(10, len(rows))):
        fold_of[test] = at
    inputs, labels = rows[options["numbers"]].to_numpy(), rows["label"].to_numpy()
    theirs = cross_val_score(own, inputs, labels, cv=PredefinedSplit(fold_of)).mean()
    assert abs(mine - theirs) < 0.01, (mine, theirs)
    assert mine > 0.95


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_is_saved_without_pickle_and_answers_what_it_never_saw(name: str, tmp_path: Path) -> None:
    """Equal trainings give equal bytes; a new category, a missing cell and a column that is not sent are no errors."""
    rows = pd.DataFrame(table_rows()).replace("", None)
    rows["size"] = rows["size"].astype(float)
    first, again = (fitted(TASK, base_of(name), rows, OPTIONS, tmp_path / each) for each in ("first", "again"))
    files = [
        {path.name: sha256_file(path) for path in sorted((tmp_path / each / "model").iterdir())}
        for each in ("first", "again")
    ]
    assert files[0] == files[1]
    assert {Path(file).suffix for file in files[0]} == {".json", ".skops"}
    np.testing.assert_array_equal(first.predict(rows)["probabilities"], again.predict(rows)["probabilities"])
    accuracy = (first.predict(rows)["probabilities"].argmax(axis=1) == (rows["label"] == "small")).mean()
    assert accuracy > 0.8
    asked = pd.DataFrame(
        [{"size": 3, "color": "violet"}, {"size": None, "color": None}, {"size": "-3", "color": "red"}]
    )
    answers = first.answers(first.predict(asked))
    assert answers["label"].isin(["large", "small"]).all()
    assert answers["label"][0] == "large"


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"size": "huge"}, "input 1, column 'size': must be a finite number, got 'huge'"),
        ({"size": float("inf")}, "column 'size': must be a finite number, got 'inf'"),
        ({"day": "tomorrow"}, "column 'day': must be a date .* got 'tomorrow'"),
    ],
)
def test_a_cell_that_is_no_input_is_refused(cells: Row, words: str, tmp_path: Path) -> None:
    rows = pd.DataFrame(table_rows(100)).replace("", None)
    predictor = fitted(TASK, base_of("naive_bayes"), rows, OPTIONS, tmp_path)
    with pytest.raises(BadRequest, match=words):
        predictor.predict(pd.DataFrame([cells]))


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (base_of("boosting"), "there is no 'boosting'. .*Allowed: .*gradient_boosting"),
        (base_of("lasso"), "there is no 'lasso'"),  # says numbers
        (base_of("svm", c=1.0), "model.base.settings.c: scikit-learn's SVC has no such setting here"),
        (base_of("svm", C=-1.0), "model.base.settings: The 'C' parameter of SVC must be"),
        (base_of("mlp", hidden=[8]), "model.base.settings.hidden"),
    ],
)
def test_what_no_model_can_be_made_of_is_refused_before_there_are_rows(base: object, words: str) -> None:
    model = Model(base=base.reference, method="pretrain")  # type: ignore[attr-defined]
    with pytest.raises(BadRequest, match=words):
        TASK.foresee(model, TASK.Preprocess.model_validate(OPTIONS), base)  # type: ignore[attr-defined]


def test_areas_and_precisions_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    label = random.integers(0, 3, 400)
    logits = random.normal(size=(400, 3)) + 2.0 * np.eye(3)[label]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    measured = {**label_ranks.measure({"probabilities": probabilities}), "label": label}
    found = whole(label_ranks.score, measured)
    truth = np.eye(3)[label]
    assert found["roc_auc"] == pytest.approx(roc_auc_score(truth, probabilities), abs=1e-3)
    assert found["average_precision"] == pytest.approx(average_precision_score(truth, probabilities), abs=2e-3)
    weights = random.integers(0, 3, 400).astype(float)
    weighed = label_ranks.score(measured, weights)
    expected = roc_auc_score(truth, probabilities, sample_weight=weights)
    assert weighed["roc_auc"] == pytest.approx(expected, abs=1e-3)


Plant = Callable[[list[Row]], list[Row]]


def _with(column: str, value: object, at: int = 5) -> Plant:
    return lambda rows: [{**row, column: value} if number == at else row for number, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("plant", "reason"),
    [
        (_with("size", "wide"), "size: not a number: 'wide'"),
        (_with("width", "inf"), "width: not a finite number"),
        (_with("day", "soon"), "day: not a time"),
        (_with("label", ""), "label"),
    ],
)
def test_a_row_that_breaks_the_contract_is_set_aside(plant: Plant, reason: str, workspace: Workspace) -> None:
    """Text in a column of numbers, an endless number, no date, no target: one row of 240 each, the others stay."""
    job = through(workspace, RECIPE, plant(table_rows()), to="validate")
    quarantine = pq.read_table(job.folder / "validated/quarantine.parquet").to_pylist()
    assert len(quarantine) == 1
    assert reason in quarantine[0]["reason"]


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (lambda rows: [{**row, "width": 1.5} for row in rows], "'width' is 1.5 in every row"),
        (lambda rows: [{**row, "size": ""} for row in rows], "'size' is empty in every row"),
        (lambda rows: [{**row, "color": f"c{at}"} for at, row in enumerate(rows)], "'color' .* as an id has"),
        (_with("label", "odd"), "label 'odd' on 1 of 240 rows"),
    ],
)
def test_a_column_that_breaks_the_contract_stops_the_graph(plant: Plant, words: str, workspace: Workspace) -> None:
    """A column that never varies or is empty, a category that is an id, a label with one row."""
    with pytest.raises(BadData, match=words):
        through(workspace, RECIPE, plant(table_rows()), to="validate")


def test_a_column_that_is_not_there_stops_the_graph(workspace: Workspace) -> None:
    rows = [{name: value for name, value in row.items() if name != "width"} for row in table_rows()]
    with pytest.raises(BadRequest, match="no column 'width'"):
        through(workspace, RECIPE, rows, to="validate")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("numbers: [size, place]", "'place' is a name of Headrace's own. .*columns: {place_: place}"),
        ("numbers: [size, label]", "'label' is what the task calls something else"),
        ("numbers: [size], dates: [size]", "name 'size' twice"),
        ("most_categories: 5", "name the columns that are inputs"),
    ],
)
def test_columns_that_cannot_be_inputs_are_refused(columns: str, words: str, workspace: Workspace) -> None:
    file = workspace.write("recipes/wrong.yaml", RECIPE.replace(RECIPE.splitlines()[2][13:-1], columns))
    with pytest.raises(BadSettings, match=words):
        read_recipe(file)


def test_the_target_in_disguise_is_warned_of(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [{**row, "color": {"large": "L", "small": "S"}[row["label"]]} for row in table_rows()]
    through(workspace, RECIPE, rows, to="validate")
    assert "warning: 'color' says 'label' exactly, one to one" in capfd.readouterr().err


def test_clean_data_pass_and_rows_of_equal_inputs_all_stay_on_one_side(workspace: Workspace) -> None:
    """Equal rows are examples of their own, also with different labels; the split never parts them."""
    rows = table_rows()
    job = through(
        workspace, RECIPE, [*rows, *rows[:20], *({**row, "label": "small"} for row in rows[:20])], to="preprocess"
    )
    assert pq.read_metadata(job.folder / "validated/quarantine.parquet").num_rows == 0
    kept = pq.read_table(job.folder / "prepared/rows.parquet").to_pandas()
    assert len(kept) == 280 and kept["row_id"].is_unique
    assert (kept.groupby(["size", "color", "width", "day"], dropna=False)["split"].nunique() == 1).all()


@pytest.mark.parametrize("load", [load_breast_cancer, load_iris, load_wine])
def test_no_false_alarm_on_published_tables(load: Callable[..., object]) -> None:
    data = load(as_frame=True)
    rows = data.data.assign(label=data.target.astype(str))  # type: ignore[attr-defined]
    options = {"numbers": list(data.data.columns), "categories": [], "dates": []}  # type: ignore[attr-defined]
    faults = FeatureFaults(TASK.contract.with_named(options))
    for start in range(0, len(rows), 50):
        faults.look(rows[start : start + 50])
    assert list(faults.checks()) == []


def test_faults_are_found_across_batches() -> None:
    """What a column is, is known when all rows went by, and not from the first of them."""
    rows = pd.DataFrame(table_rows(300)).replace("", None).assign(width=2.0, day=[f"d{at}" for at in range(300)])
    rows["color"] = rows["label"].str[0]
    options = {"numbers": ["size", "width"], "categories": ["color", "day"], "dates": []}
    faults = FeatureFaults(TASK.contract.with_named(options))
    for start in range(0, 300, 7):
        faults.look(rows[start : start + 7])
    assert [(check.name, check.columns) for check in faults.checks()] == [
        (CONSTANT, ("width",)), (ID, ("day",)), (DISGUISED, ("color",)),
    ]  # fmt: skip


def test_a_file_with_something_else_in_it_is_not_loaded(tmp_path: Path) -> None:
    """What skops does not trust by itself, and is not in the list, is refused by its name."""
    with pytest.raises(BadRequest, match=r"holds subprocess\.Popen"):
        estimator_file.save(subprocess.Popen, tmp_path)
    (tmp_path / "estimator.skops").write_bytes(skops.io.dumps(subprocess.Popen))
    with pytest.raises(BadRequest, match=r"subprocess\.Popen"):
        estimator_file.load(tmp_path)


@pytest.mark.slow
def test_equal_bytes_in_another_process(tmp_path: Path) -> None:
    """Where objects lie in memory, and how texts hash, leaves no trace in the file."""
    code = (
        "import sys, pathlib, hashlib\n"
        "from sklearn.datasets import load_iris\n"
        "from sklearn.ensemble import HistGradientBoostingClassifier as Trees\n"
        "from pipelines.tasks.parts.tables import estimator_file\n"
        "inputs, labels = load_iris(return_X_y=True)\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "estimator_file.save(Trees(max_iter=3, random_state=0).fit(inputs, labels), folder)\n"
        "print(hashlib.sha256((folder / 'estimator.skops').read_bytes()).hexdigest())\n"
    )
    sums = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True,
            env={"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "PATH": "/usr/bin"},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(sums) == 1
