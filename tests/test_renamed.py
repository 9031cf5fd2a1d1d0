"""A registered model that was renamed or deleted in MLflow is told as that, and registered anew by the next run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadData, BadRequest
from registry.cleanup import held_versions
from registry.promotion import journal, promotion
from registry.promotion.ledger import Chain
from registry.store import versions
from registry.store.connection import connect, exclusive
from registry.store.overview import receipt_holds, standings
from registry.version import register_version
from registry.version.runs import Candidate
from serving.models.champions import Champions
from tests.faults.mlflow_server import Server
from tests.small_model import candidate, make_small_model, trusting

pytestmark = pytest.mark.slow

Lose = Callable[[Path], None]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [make_small_model(tmp_path_factory.mktemp("model") / str(seed), seed=seed) for seed in (1, 2)]


@pytest.fixture
def var(tmp_path: Path) -> Path:
    return tmp_path / "var"


def films(model: Path, tmp_path: Path, **about: Any) -> Candidate:
    (evidence := tmp_path / "evidence").mkdir(exist_ok=True)
    (evidence / "profile.json").write_text('{"rows": 96}')
    return replace(candidate(model, evidence, **about), name="films")


def register(subject: Candidate, var: Path) -> versions.Version:
    promotion.settle(subject.name, var, trusting)  # the stage does so before it judges
    with exclusive(var):
        return register_version.register(subject, var).version


def paper(version: versions.Version) -> dict[str, Any]:
    return {
        "model": version.name, "version": version.version, "run_id": version.run_id, "experiment": False,
        "model_hash": version.model_hash, "aliases": list(version.aliases), "server": "embedded",
    }  # fmt: skip


def chain_of(var: Path) -> Chain:
    return journal.read(connect(var), "films")


def rename(var: Path) -> None:
    connect(var).rename_registered_model("films", "films-prod")


def delete(var: Path) -> None:
    connect(var).delete_registered_model("films")


@pytest.mark.parametrize(
    ("lose", "words"), [(rename, "films was renamed to films-prod"), (delete, "films was deleted")]
)
@pytest.mark.parametrize("same", [True, False])
def test_what_became_of_it_is_said_and_it_is_registered_anew(
    lose: Lose, words: str, same: bool, models: list[Path], tmp_path: Path, var: Path
) -> None:
    """Version 1 is another one than the first version 1: of the same model or not, it is champion by its own gates."""
    first = register(films(models[0], tmp_path), var)
    register(films(models[1], tmp_path, rival="1"), var)
    lose(var)
    assert ("renamed" if lose is rename else "deleted or renamed") in str(receipt_holds(paper(first), var))
    with pytest.raises(BadRequest, match=rf"{words} in .*headrace run"):
        versions.resolve("films", "champion", var)
    assert (chain_of(var).gone, chain_of(var).faults) == (True, [])
    again = register(films(models[0 if same else 1], tmp_path, passed=False), var)
    assert (again.version, again.aliases) == ("1", ())
    chain = chain_of(var)
    assert [(each.action, each.to) for each in chain.entries][-2:] == [("removed", None), ("registered", "1")]
    assert (chain.champion, chain.faults) == (None, [])
    assert words in chain.entries[-2].why[0]
    passed = register(films(models[0 if same else 1], tmp_path), var)
    assert "champion" in passed.aliases
    assert receipt_holds(paper(passed), var) is None
    with pytest.raises(BadRequest, match="before 1 was none"):
        promotion.rollback("films", var, trusting)


def test_under_its_new_name_it_is_told_and_keeps_its_files(models: list[Path], tmp_path: Path, var: Path) -> None:
    register(films(models[0], tmp_path), var)
    rename(var)
    with pytest.raises(BadData, match=r"its entries are those of films, which was renamed to films-prod"):
        promotion.promote("films-prod", "1", var, trusting)
    anew = register(films(models[0], tmp_path), var)
    old = versions.versions("films-prod", var)[0]
    assert old.model_id != anew.model_id, "freeing the one would take the files of the other"
    assert versions.packed_folder(old, var) != versions.packed_folder(anew, var)
    assert {each.called for each in held_versions.holdings(var)} == {"films/1", "films-prod/1"}


def test_with_its_name_back_all_is_as_before(models: list[Path], tmp_path: Path, var: Path) -> None:
    first = register(films(models[0], tmp_path), var)
    rename(var)
    connect(var).rename_registered_model("films-prod", "films")
    assert receipt_holds(paper(first), var) is None
    assert versions.resolve("films", "champion", var).version == "1"
    chain = chain_of(var)
    assert (chain.champion, chain.faults, chain.gone) == ("1", [], False)


def test_serving_goes_on_and_says_it(models: list[Path], tmp_path: Path, var: Path) -> None:
    register(films(models[0], tmp_path), var)
    said: list[str] = []
    champions = Champions(var, trusting, ["films"], said.append)
    champions.look()
    rename(var)
    champions.look()
    assert champions.serving["films"].loaded.version.version == "1"
    assert "films was renamed to films-prod" in champions.faults["films"]
    assert "version 1 goes on answering" in said[-1]
    register(films(models[1], tmp_path), var)
    champions.look()
    assert (champions.faults, [each.accepted for each in standings(var)]) == ({}, ["1", "1"])


def test_a_model_that_somebody_made_again_without_its_history_is_not_believed(
    models: list[Path], tmp_path: Path, var: Path
) -> None:
    """Else who cuts the ledger's end off would only have to delete the tag that names it."""
    register(films(models[0], tmp_path), var)
    delete(var)
    connect(var).create_registered_model("films")
    with pytest.raises(BadData, match="does not name its last entry"):
        register(films(models[0], tmp_path), var)


def test_a_server_tells_it_too(models: list[Path], tmp_path: Path, var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "server").mkdir()
    server = Server(tmp_path / "server")
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        first = register(films(models[0], tmp_path), var)
        rename(var)
        told = {**paper(first), "server": server.url}
        assert "films was renamed to films-prod" in str(receipt_holds(told, var))
        assert register(films(models[0], tmp_path), var).version == "1"
    finally:
        server.kill()
