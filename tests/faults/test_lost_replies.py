"""Replies of a real MLflow server dropped and delayed: what it holds afterwards is what it holds without faults."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from core.patience import patiently
from registry.promotion import promotion
from registry.store import versions
from registry.store.connection import exclusive
from registry.store.tracking import Dataset, training_run
from registry.version import register_version
from tests.faults.mlflow_server import Server
from tests.faults.proxy import Proxy
from tests.small_model import candidate, make_small_model, trusting

pytestmark = pytest.mark.slow

FAULTS = int(os.environ.get("TEST_FAULTS", "30"))
STEPS = 12


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path)
    yield found
    found.kill()


def test_lost_replies_double_nothing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train, register, register again, promote: for one model after another, until enough replies were lost."""
    monkeypatch.setenv("HEADRACE_PATIENCE_S", "120")
    monkeypatch.setattr("registry.store.tracking._RETRY_AFTER_S", 0.1)
    monkeypatch.setattr("core.patience._LONGEST_PAUSE_S", 0.2)
    evidence, var = tmp_path / "evidence", tmp_path / "var"
    evidence.mkdir()
    (evidence / "profile.json").write_text("{}")
    number = 0
    with Proxy(server.url, drop=0.15, delay=0.1, seed=4) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
        while proxy.done["dropped"] + proxy.done["delayed"] < FAULTS:
            number += 1
            subject = candidate(make_small_model(tmp_path / str(number), seed=number), evidence)
            train(var, subject.model_hash)
            for _ in range(2):
                patiently(lambda subject=subject: register(replace(subject, promote=False), var))  # type: ignore[misc]
            patiently(lambda: promotion.promote("films", "challenger", var, trusting))
    client = MlflowClient(server.url)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    found = versions.versions("films", var)
    assert [version.version for version in found] == [str(each) for each in range(number, 0, -1)]
    assert len({version.model_hash for version in found}) == number
    assert set(found[0].aliases) == {"champion", "challenger"}
    experiment = client.get_experiment_by_name("films")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert Counter(run.data.tags["model_hash"] for run in runs) == dict.fromkeys([v.model_hash for v in found], 1)
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        steps = Counter(metric.step for metric in client.get_metric_history(run.info.run_id, "loss"))
        assert steps == dict.fromkeys(range(1, STEPS + 1), 1)
    assert len(client.search_logged_models([experiment.experiment_id])) == number
    for version in found:
        versions.packed_folder(version, var)  # re-hashes its files


def train(var: Path, model_hash: str) -> None:
    with training_run(
        var=var, recipe="films", key=model_hash, experiment=False, params={}, tags={}, dataset=Dataset("f", "d", "s")
    ) as run:
        for step in range(1, STEPS + 1):
            run.log(step, {"loss": 1.0 / step})
        run.finish(model_hash)


def register(subject: Any, var: Path) -> None:
    with exclusive(var):
        register_version.register(subject, var)
