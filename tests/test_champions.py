"""Champions in memory over a real registry: what a look finds, loads, keeps and says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pipelines.tasks import find_task
from registry.promotion import promotion
from registry.promotion.gate import Verdict
from registry.store.connection import connect, exclusive
from registry.store.versions import Version
from registry.version import register_version
from serving.health import readiness
from serving.indexes.indexes import Standing
from serving.models import champions as subject
from serving.models.champions import Champions
from tests.small_model import TEXTS, aliases, candidate, make_small_model, trusting
from tests.tiny_graph import until

Register = Callable[..., Version]
NO_INDEX = Standing({}, {})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [make_small_model(folder / str(seed), seed=seed) for seed in (1, 2)]


@pytest.fixture
def var(tmp_path: Path) -> Path:
    return tmp_path / "var"


@pytest.fixture
def register(models: list[Path], var: Path, tmp_path: Path) -> Register:
    """register(0, "films") makes a version of the first model; nobody is champion by that."""
    (tmp_path / "evidence").mkdir()

    def made(which: int, name: str) -> Version:
        with exclusive(var):
            subject = replace(candidate(models[which], tmp_path / "evidence", promote=False), name=name)
            return register_version.register(subject, var).version

    return made


def refusing(version: Version, champion: Version | None) -> Verdict:
    return Verdict.refused("accuracy", "not shown")


def versions_of(champions: Champions) -> dict[str, str]:
    return {name: each.loaded.version.version for name, each in champions.serving.items()}


@pytest.mark.slow
def test_an_alias_moved_in_mlflow_is_judged_accepted_and_answers(register: Register, var: Path) -> None:
    for which in (0, 1):
        register(which, "films")
    promotion.promote("films", "1", var, trusting)
    said: list[str] = []
    champions = Champions(var, trusting, ["films"], said.append)
    champions.look()
    first = champions.serving
    assert versions_of(champions) == {"films": "1"}
    connect(var).set_registered_model_alias("films", "champion", "2")
    champions.look()
    assert versions_of(champions) == {"films": "2"}
    assert aliases("films", var)["champion"] == "2"
    assert first["films"].loaded.version.version == "1"  # who holds the old one is answered by it
    now = champions.serving["films"]
    champions.look()
    assert champions.serving["films"] is now
    assert said == ["films: version 1 answers", "films: version 2 answers, version 1 before"]


@pytest.mark.slow
def test_without_names_whoever_gets_a_champion_is_served(register: Register, var: Path, models: list[Path]) -> None:
    said: list[str] = []
    champions = Champions(var, refusing, [], said.append)
    champions.look()
    assert (champions.serving, champions.faults, champions.away) == ({}, {}, None)
    register(0, "films")
    register(1, "plays")
    connect(var).set_registered_model_alias("plays", "champion", "1")  # and is refused
    promotion.promote("films", "1", var, trusting)
    for _ in range(2):
        champions.look()
    assert versions_of(champions) == {"films": "1"}
    assert readiness(champions, NO_INDEX).ready and champions.faults == {}
    assert "plays: 1 was made champion in MLflow, and refused: " in "\n".join(said)
    answers = champions.serving["films"].loaded.answer(TEXTS, local_files=False).rows
    predictor = find_task("text_classification").load(models[0])
    expected = predictor.answers(predictor.predict(pd.DataFrame({"text": TEXTS})))
    assert [row["label"] for row in answers] == expected["label"].tolist()


def test_a_model_without_a_champion_is_waited_for(register: Register, var: Path) -> None:
    register(0, "films")
    said: list[str] = []
    champions = Champions(var, trusting, ["films"], said.append)
    for _ in range(2):
        champions.look()
    assert not readiness(champions, NO_INDEX).ready
    assert said == [
        "films: it has no champion. `headrace promote films VERSION` makes one. Until then nothing answers."
    ]
    promotion.promote("films", "1", var, trusting)
    champions.look()
    assert readiness(champions, NO_INDEX).ready
    assert said[1:] == ["films: version 1 answers", "films: well again"]


@pytest.mark.slow
def test_a_broken_ledger_stops_nothing_that_answers(register: Register, var: Path) -> None:
    for which in (0, 1):
        register(which, "films")
    promotion.promote("films", "1", var, trusting)
    said: list[str] = []
    champions = Champions(var, trusting, [], said.append)
    champions.look()
    client = connect(var)
    experiment = client.get_experiment_by_name("headrace-ledger")
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id], "tags.`ledger.number` = '1'")[0]
    client.set_tag(run.info.run_id, "ledger.entry", "{}")
    client.set_registered_model_alias("films", "champion", "2")
    for _ in range(3):
        champions.look()
    assert versions_of(champions) == {"films": "1"}
    assert len(said) == 2 and "the ledger of films is not whole" in said[1]
    assert readiness(champions, NO_INDEX).ready and "films" in readiness(champions, NO_INDEX).faults


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died_is_not_ready(register: Register, var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(0, "films")
    promotion.promote("films", "1", var, trusting)
    champions = Champions(var, trusting, [], print)
    champions.look()

    def broken(var: Path) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(subject, "LOOK_EVERY_S", 0.01)
    with champions.following():
        assert readiness(champions, NO_INDEX).ready
        monkeypatch.setattr(subject, "standings", broken)
        until(lambda: champions.lost)
        told = readiness(champions, NO_INDEX)
    assert not told.ready and told.models == {"films": "1"}
    assert "not followed any more" in str(told.registry)
