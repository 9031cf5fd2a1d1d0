"""NAME.lock: what moved is said, and the profile that drift is measured against moves only with the source."""

from __future__ import annotations

import json

import pytest

from core.atomic_files import write_json
from core.workspace import Job
from core.workspace import Workspace as Place
from flows.catalog.refresh import refresh
from pipelines.recipes.read import read_lock
from pipelines.settings.settings import run
from registry.store.connection import artifacts, connect
from tests.conftest import Workspace

PROFILE = {"rows": 3}


def job(workspace: Workspace) -> Job:
    return Place(workspace.root).job("recipe", "tiny")


def crown(workspace: Workspace) -> None:
    """A champion whose data had PROFILE."""
    var = job(workspace).workspace.var
    client = connect(var)
    experiment = client.create_experiment("e", artifact_location=(artifacts(var) / "e").as_uri())
    evidence = client.create_run(experiment)
    (workspace.root / "profile.json").write_text(json.dumps(PROFILE))
    client.log_artifact(evidence.info.run_id, str(workspace.root / "profile.json"), "evidence")
    client.create_registered_model("tiny")
    client.create_model_version("tiny", (var / "x").as_uri(), evidence.info.run_id)
    client.set_registered_model_alias("tiny", "champion", "1")


def collected(workspace: Workspace) -> None:
    """As after a run: the manifest of raw/ names the content that settings saw."""
    one = job(workspace)
    run(one)
    write_json(one.folder / "raw" / "manifest.json", {"identity": one.settings["source"]})


def test_a_first_lock_and_then_nothing(tiny: Workspace) -> None:
    one = job(tiny)
    one.lock_file.unlink()
    assert refresh(one) == ["source.kind: nothing -> path"]
    assert refresh(one) == []
    assert not one.workspace.var.joinpath("mlflow").exists()


@pytest.mark.slow
def test_the_reference_moves_only_together_with_the_source(tiny: Workspace) -> None:
    one = job(tiny)
    collected(tiny)
    crown(tiny)
    assert refresh(one) == []  # a promotion alone makes nothing stale
    with tiny.path("rows.csv").open("a") as rows:
        rows.write("another,pos\n")
    assert refresh(one) == ["reference: nothing -> a profile of the champion's data"]
    assert read_lock(one).reference == PROFILE
    assert refresh(one) == []
    collected(tiny)
    assert refresh(one) == []
