"""A training run on MLflow's page: whole, in order, closed as it ended, and never in training's way."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from registry.store import tracking
from registry.store.connection import connect
from registry.store.names import registered_name, trained_name
from registry.store.tracking import Dataset, TrainingRun, training_run
from tests.conftest import ROOT

DATA = Dataset("films", "d" * 64, "data/models/films/prepared")


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tracking") / "var"


def films(var: Path, *, experiment: bool = False, key: str | None = None) -> AbstractContextManager[TrainingRun]:
    """A run; without a key, of a training that no other run goes on with."""
    params: dict[str, str | float | int] = {"training.seed": 7, "compute.threads": 1}
    return training_run(
        var=var, recipe="films", key=key or uuid4().hex, experiment=experiment, params=params,
        tags={"base_sha256": "none"}, dataset=DATA,
    )  # fmt: skip


def logged(var: Path, run: TrainingRun) -> Any:
    assert run.run_id is not None
    return connect(var).get_run(run.run_id)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("films 1a2b3c4 lora", "films v3 lora"), ("films training", "films v3 lora"),  # an earlier Headrace's
        ("films v2 lora", "films v2 lora"), ("the good one", "the good one"), ("films 2 keep", "films 2 keep"),
    ],
)  # fmt: skip
def test_a_run_is_called_by_its_version_unless_a_person_named_it(before: str, after: str) -> None:
    params = {"model.method": "lora"}
    assert trained_name("films", "1a2b3c4d5e6f", params) == "films 1a2b3c4 lora"
    assert registered_name("films", "3", params, before=before) == after


def curve(var: Path, run: TrainingRun, metric: str) -> list[tuple[int, float]]:
    assert run.run_id is not None
    return [(point.step, point.value) for point in connect(var).get_metric_history(run.run_id, metric)]


def test_a_run_carries_curves_settings_data_and_versions(var: Path) -> None:
    with films(var) as run:
        for step in range(1, 4):
            run.log(step, {"loss": 1 / step, "lr": 0.1})
        assert logged(var, run).info.status == "RUNNING"
        run.finish("a" * 64)
    found = logged(var, run)
    assert found.info.status == "FINISHED"
    assert curve(var, run, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    assert found.data.params == {"training.seed": "7", "compute.threads": "1"}
    assert found.data.tags["model_hash"] == "a" * 64
    assert found.data.tags["base_sha256"] == "none"
    assert found.data.tags["version.torch"]
    [data] = found.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("films", "d" * 36)
    assert json.loads(data.dataset.source) == {"uri": "data/models/films/prepared", "sha256": "d" * 64}
    assert connect(var).get_experiment(found.info.experiment_id).name == "films"


def test_a_fault_ends_the_run_as_failed(var: Path) -> None:
    with pytest.raises(ValueError, match="no number"), films(var) as run:  # noqa: PT012
        run.log(1, {"loss": 0.5})
        raise ValueError("the loss is no number")
    assert logged(var, run).info.status == "FAILED"
    assert "model_hash" not in logged(var, run).data.tags


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_ends_the_run_as_killed(var: Path, end: type[BaseException]) -> None:
    with pytest.raises(end), films(var) as run:  # noqa: PT012
        run.log(1, {"loss": 0.5})
        raise end
    assert logged(var, run).info.status == "KILLED"


def test_an_experiment_is_marked_with_its_name(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "lanky-tofu")
    with films(var, experiment=True) as run:
        run.log(1, {"loss": 0.5})
    assert logged(var, run).data.tags["dvc_experiment"] == "lanky-tofu"
    assert logged(var, run).info.run_name == "lanky-tofu"


def test_what_the_store_did_not_take_is_handed_over_later_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "mlflow"
    blocked.write_text("in the way")
    with films(tmp_path) as run:
        for step in range(1, 4):
            run.log(step, {"loss": float(step)})
        assert run.run_id is None
        blocked.unlink()
        run.finish("b" * 64)
    assert curve(tmp_path, run, "loss") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert logged(tmp_path, run).info.status == "FINISHED"
    assert capsys.readouterr().err.count("training goes on") == 1


@pytest.mark.slow
def test_a_server_that_is_down_neither_stops_training_nor_holds_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    started = time.monotonic()
    with films(tmp_path) as run:
        for step in range(1, 200):
            run.log(step, {"loss": float(step)})
        run.finish("c" * 64)
    assert time.monotonic() - started < 30
    assert run.run_id is None
    warning = capsys.readouterr().err
    assert warning.count("training goes on") == 1
    assert "http://127.0.0.1:9" in warning


@pytest.mark.slow
def test_several_processes_may_make_the_store_at_once(tmp_path: Path) -> None:
    """By MLflow's own migrations, which race: these processes are not forked, or each would copy a store."""
    code = (
        "import sys; from pathlib import Path; from registry.store.tracking import *\n"
        "with training_run(var=Path(sys.argv[1]), recipe='films', key=sys.argv[2], experiment=False, params={},"
        " tags={}, dataset=Dataset('films', 'd', 's')) as run:\n"
        "    run.log(1, {'loss': 1.0})\n"
        "print(run.run_id)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "var")]
    started = [
        subprocess.Popen([*command, key], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for key in "abc"
    ]
    said = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * 3, said
    assert not any("training goes on" in error for _, error in said), said
    client = connect(tmp_path / "var")
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert {run.info.run_id for run in runs} == {out.strip() for out, _ in said}


@pytest.mark.slow
def test_a_killed_training_goes_on_in_its_run_with_each_step_once(var: Path, tmp_path: Path) -> None:
    """Killed after step 3; the resumed process hears steps 1 and 2 again from its checkpoint, then trains on."""
    code = (
        "import os, signal, sys; from pathlib import Path; from registry.store.tracking import *\n"
        "with training_run(var=Path(sys.argv[1]), recipe='films', key='killed', experiment=False, params={}, tags={},"
        " dataset=Dataset('films', 'd', 's')) as run:\n"
        "    for step in (1, 3): run.log(step, {'loss': 1 / step})\n"
        "    print(run.run_id, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(var)], cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    with films(var, key="killed") as run:
        for step in range(1, 6):
            run.log(step, {"loss": 1 / step})
        assert logged(var, run).info.status == "RUNNING"
    assert run.run_id == killed.stdout.strip()
    assert sorted(curve(var, run, "loss")) == [(step, 1 / step) for step in range(1, 6)]
    assert logged(var, run).info.status == "FINISHED"
    with films(var, key="killed") as again:
        again.log(1, {"loss": 1.0})
    assert again.run_id != run.run_id, "that training had ended: this is another one"


def test_the_same_training_of_another_workspace_has_a_run_of_its_own(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "var", tmp_path / "b" / "var"
    assert tracking._here("key", first) != tracking._here("key", second)
    assert tracking._here("key", first) == tracking._here("key", first)
