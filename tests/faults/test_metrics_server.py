"""A real MLflow server, killed in the middle of a training and started again: no step is lost, none stands twice."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from registry.store.tracking import Dataset, training_run
from tests.faults.mlflow_server import Server

pytestmark = pytest.mark.slow

AWAY_S = float(os.environ.get("TEST_AWAY_S", "12"))
STEP_S = 0.1


def test_a_killed_server_costs_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    away = threading.Event()

    def fail() -> None:
        time.sleep(2)
        server.kill()
        away.set()
        time.sleep(AWAY_S)
        server.start()

    failing = threading.Thread(target=fail)
    try:
        with training_run(
            var=tmp_path / "var",
            recipe="films",
            key="k",
            experiment=False,
            params={},
            tags={},
            dataset=Dataset("f", "d", "s"),
        ) as run:
            failing.start()
            steps = 0
            while failing.is_alive():
                steps += 1
                run.log(steps, {"loss": 1.0 / steps, "learning_rate": 0.1})
                time.sleep(STEP_S)
            run.finish("a" * 64)
        assert away.is_set()
        assert steps > AWAY_S, "it went on while the server was away"
        client = MlflowClient(server.url)
        [found] = client.search_runs([client.get_experiment_by_name("films").experiment_id])  # type: ignore[union-attr]
        assert (found.info.run_id, found.info.status) == (run.run_id, "FINISHED")
        for key in ("loss", "learning_rate"):
            history = client.get_metric_history(found.info.run_id, key)
            assert Counter(metric.step for metric in history) == dict.fromkeys(range(1, steps + 1), 1)
            assert [m.step for m in sorted(history, key=lambda m: m.timestamp)] == sorted(m.step for m in history)
    finally:
        failing.join()
        server.kill()
