"""A glance at the registry."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from core.errors import Outage
from registry.store.connection import connect, database
from registry.store.overview import Glance, glance


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert glance("m", tmp_path) == Glance(None, {}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_newest_version_its_aliases_and_libraries(tmp_path: Path) -> None:
    client = connect(tmp_path)
    experiment = client.create_experiment("e", artifact_location=(tmp_path / "artifacts").as_uri())
    client.create_registered_model("m")
    for number in (1, 2, 3):
        run = client.create_run(experiment, tags={"version.torch": f"1.{number}", "version.mlflow": version("mlflow")})
        client.create_model_version("m", (tmp_path / "x").as_uri(), run.info.run_id)
    client.set_registered_model_alias("m", "champion", "1")
    client.delete_model_version("m", "3")
    seen = glance("m", tmp_path)
    assert seen == Glance("2", {"champion": "1"}, {"torch": "1.2", "mlflow": version("mlflow")})
    assert seen.moved == {"torch": ("1.2", version("torch"))}
    assert glance("other", tmp_path) == Glance(None, {}, {})


def test_a_store_that_is_none(tmp_path: Path) -> None:
    file = database(tmp_path)
    file.parent.mkdir(parents=True)
    file.write_text("no database " * 100)
    with pytest.raises(Outage, match=r"mlflow\.db cannot be read"):
        glance("m", tmp_path)
