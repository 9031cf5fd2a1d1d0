"""The embedded store read without MLflow: it says what MLflow's own client says, question by question."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.errors import HeadraceError
from registry.store.connection import as_default, asking, connect, if_there
from registry.store.embedded_reader import reading
from registry.store.ledger_runs import EXPERIMENT
from registry.store.versions import read_versions

LIGHT = ("mlflow", "torch", "pandas", "sqlalchemy")


def filled(var: Path) -> tuple[list[str], list[str]]:
    """A store with two models, a deleted version, a deleted run, aliases and tags: ids of its runs and its models."""
    client = connect(var)
    home = (var.resolve() / "mlflow" / "artifacts" / "e").as_uri()
    experiment = client.create_experiment(EXPERIMENT, artifact_location=home)
    runs, logged = [], []
    for name in ("films", "plays"):
        client.create_registered_model(name, tags={"kind": name})
        for number in ("1", "2", "3"):
            run = client.create_run(experiment, tags={"ledger.model": name, "ledger.number": number})
            model = client.create_logged_model(experiment, name="m")
            source = f"models:/{model.model_id}"
            with as_default(client):
                client.create_model_version(name, source, run.info.run_id, tags={"approval": "asked"})
            client.set_model_version_tag(name, number, "model_hash", number * 3)
            runs.append(run.info.run_id)
            logged.append(model.model_id)
        client.set_model_version_tag(name, "1", "approval", "promoted")
        client.set_registered_model_alias(name, "champion", "2")
        client.set_registered_model_alias(name, "challenger", "1")
        client.delete_model_version(name, "3")
    client.delete_run(runs[2])
    return runs, logged


def models(found: Any) -> list[Any]:
    """MLflow gives an alias's version as a number or as a text, by the store."""
    return sorted((e.name, dict(e.tags), {alias: str(at) for alias, at in e.aliases.items()}) for e in found)


def entries(found: Any) -> list[Any]:
    return sorted(
        (e.name, str(e.version), e.run_id, e.source, e.creation_timestamp, sorted(e.tags.items())) for e in found
    )


def held(found: Any) -> list[Any]:
    """MLflow's own tags aside: its client gives a run's name among them, and so does the table."""
    return sorted((e.info.run_id, e.info.artifact_uri, e.info.start_time, sorted(e.data.tags.items())) for e in found)


@pytest.mark.slow
def test_it_says_what_mlflow_says(tmp_path: Path) -> None:
    runs, logged = filled(tmp_path)
    with asking(tmp_path) as client, reading(tmp_path) as reader:
        assert type(reader) is not type(client)
        assert models(reader.search_registered_models()) == models(client.search_registered_models())
        assert models([reader.get_registered_model("films")]) == models([client.get_registered_model("films")])
        for wanted in ("name='films'", f"run_id = '{runs[0]}'", "tags.approval = 'asked'", "name='none'"):
            assert entries(reader.search_model_versions(wanted)) == entries(client.search_model_versions(wanted))
        for run in runs:
            assert held([reader.get_run(run)]) == held([client.get_run(run)])
        ids = [client.get_experiment_by_name(EXPERIMENT).experiment_id]  # type: ignore[union-attr]
        assert reader.get_experiment_by_name(EXPERIMENT).experiment_id == ids[0]  # type: ignore[union-attr]
        for wanted in ("tags.`ledger.model` = 'films'", "tags.`ledger.number` = '3'"):
            assert held(reader.search_runs(ids, wanted)) == held(client.search_runs(ids, wanted))
        for model in logged:
            there, here = client.get_logged_model(model), reader.get_logged_model(model)
            assert here.artifact_location == there.artifact_location
        assert read_versions(reader, "films") == read_versions(client, "films")
        for other in (reader, client):
            assert if_there(other.get_registered_model, "none") is None
            assert if_there(other.get_run, "0" * 32) is None
            assert other.get_experiment_by_name("none") is None


def test_what_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    with reading(tmp_path) as reader, pytest.raises(HeadraceError, match="has nothing called 'm-1'"):
        reader.get_logged_model("m-1")
    assert list(tmp_path.iterdir()) == []


def test_looking_imports_no_mlflow(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from registry.promotion import promotion, journal, question;"
        "from registry.store import overview, versions; var = Path(sys.argv[1]);"
        "assert versions.versions('m', var) == [] == question.questions(var) == overview.standings(var);"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert not set(LIGHT) & set(done.stdout.split())
