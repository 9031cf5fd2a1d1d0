"""The task as a whole: beside scikit-learn itself, through the stages with faults planted, saved and loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_diabetes
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from core.atomic_files import sha256_file
from core.errors import BadData
from core.tables.statistics import whole
from pipelines.tasks import find_task
from pipelines.tasks.parts.answers import numbers
from pipelines.tasks.parts.tables import estimators
from pipelines.validate.feature_faults import DISGUISED, FeatureFaults
from tests.conftest import Workspace
from tests.small_table import OPTIONS, Row, base_of, fitted, folds, said_by_folds, small_workspace, table_rows, through

pytestmark = pytest.mark.usefixtures("one_thread")

TASK = find_task("tabular_regression")
RECIPE = (
    "task: tabular_regression\n"
    "data: {source: rows.csv, columns: {target: amount}, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "preprocess: {numbers: [size, width], categories: [color], dates: [day]}\n"
    "model: {base: {architecture: linear_regression}}\n"
)
ESTIMATORS = [name for name in estimators.names("number") if name != estimators.NETWORK]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return small_workspace(tmp_path_factory.mktemp("tabular") / "workspace")


@pytest.fixture(autouse=True)
def here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.root)


def diabetes() -> tuple[pd.DataFrame, Row]:
    data = load_diabetes(as_frame=True, scaled=False)
    return data.data.assign(target=data.target), {"numbers": list(data.data.columns)}


def known(count: int = 240) -> pd.DataFrame:
    """Rows as preprocess leaves them."""
    rows = pd.DataFrame(table_rows(count)).replace("", None).rename(columns={"amount": "target"})
    return rows.assign(size=rows["size"].astype(float))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linear_regression", "random_forest"])
def test_it_is_as_good_as_scikit_learn_by_itself(name: str, tmp_path: Path) -> None:
    """Ten folds of diabetes: within a point of scikit-learn's own cross-validated R2."""
    rows, options = diabetes()
    said = said_by_folds(TASK, base_of(name), rows, options, tmp_path, 10)
    mine = np.mean([r2_score(fold["target"], each[numbers.SAID]) for each, fold in said])
    own = {
        "linear_regression": make_pipeline(StandardScaler(), LinearRegression()),
        "random_forest": RandomForestRegressor(random_state=7),
    }[name]
    fold_of = np.empty(len(rows), int)
    for at, (_, test) in enumerate(folds(10, len(rows))):
        fold_of[test] = at
    inputs = rows[options["numbers"]].to_numpy()
    theirs = cross_val_score(own, inputs, rows["target"].to_numpy(), cv=PredefinedSplit(fold_of), scoring="r2").mean()
    assert abs(mine - theirs) < 0.01, (mine, theirs)
    assert mine > 0.35


@pytest.mark.parametrize("name", ESTIMATORS)
def test_an_estimator_is_saved_without_pickle_and_answers_in_the_targets_measure(name: str, tmp_path: Path) -> None:
    """Equal trainings give equal bytes; a new category and a missing cell are no errors."""
    rows = known()
    first, again = (fitted(TASK, base_of(name), rows, OPTIONS, tmp_path / each) for each in ("first", "again"))
    files = [
        {path.name: sha256_file(path) for path in sorted((tmp_path / each / "model").iterdir())}
        for each in ("first", "again")
    ]
    assert files[0] == files[1]
    assert {Path(file).suffix for file in files[0]} == {".json", ".skops"}
    np.testing.assert_array_equal(first.predict(rows)[numbers.SAID], again.predict(rows)[numbers.SAID])
    shrunk = name in (
        "lasso",
        "elastic_net",
    )  # at scikit-learn's own penalty of 1, nothing is left of standardised numbers
    assert r2_score(rows["target"], first.predict(rows)[numbers.SAID]) > (-0.01 if shrunk else 0.7)
    asked = pd.DataFrame([{"size": 1.0, "color": "violet"}, {"size": None, "color": None}])
    answers = first.answers(first.predict(asked))
    assert list(answers.columns) == [numbers.SAID] and np.isfinite(answers[numbers.SAID]).all()


def test_metrics_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    true, said, weights = random.normal(size=50), random.normal(size=50), random.integers(0, 3, 50).astype(float)
    measured = numbers.measure({numbers.SAID: said, numbers.TRUE: true})
    for found, weight in ((whole(numbers.score, measured), None), (numbers.score(measured, weights), weights)):
        assert found["rmse"] == pytest.approx(root_mean_squared_error(true, said, sample_weight=weight))
        assert found["mae"] == pytest.approx(mean_absolute_error(true, said, sample_weight=weight))
        assert found["r2"] == pytest.approx(r2_score(true, said, sample_weight=weight))


Plant = Callable[[list[Row]], list[Row]]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"amount": ""}, "target is missing"),
        ({"amount": "much"}, "target: not a number: 'much'"),
        ({"amount": "-inf"}, "target: not a finite number"),
        ({"size": "wide"}, "size: not a number: 'wide'"),
    ],
)
def test_a_row_that_breaks_the_contract_is_set_aside(cells: Row, reason: str, workspace: Workspace) -> None:
    rows = table_rows()
    job = through(workspace, RECIPE, [*rows[:5], {**rows[5], **cells}, *rows[6:]], to="validate")
    quarantine = pq.read_table(job.folder / "validated/quarantine.parquet").to_pylist()
    assert len(quarantine) == 1
    assert reason in quarantine[0]["reason"]


def test_one_number_for_all_teaches_nothing(workspace: Workspace) -> None:
    with pytest.raises(BadData, match="all have the number 4"):
        through(workspace, RECIPE, [{**row, "amount": 4} for row in table_rows()], to="preprocess")


def test_the_target_in_another_measure_is_warned_of(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    rows = [{**row, "width": round(row["amount"] * 9 / 5 + 32, 6)} for row in table_rows()]
    through(workspace, RECIPE, rows, to="validate")
    assert "warning: 'width' says 'target' exactly" in capfd.readouterr().err


def test_clean_data_pass(workspace: Workspace) -> None:
    job = through(workspace, RECIPE, table_rows(), to="preprocess")
    assert pq.read_metadata(job.folder / "validated/quarantine.parquet").num_rows == 0
    rows, options = diabetes()
    faults = FeatureFaults(TASK.contract.with_named({"categories": [], "dates": [], **options}))
    faults.look(rows)
    assert list(faults.checks()) == []
    faults.look(rows.assign(bmi=rows["target"]))
    twice = FeatureFaults(TASK.contract.with_named({"categories": [], "dates": [], **options}))
    twice.look(rows.assign(bmi=rows["target"]))
    assert [(check.name, check.columns) for check in twice.checks()] == [(DISGUISED, ("bmi",))]
