"""What an earlier commit made goes on: versions, a live release, their history, leftovers of a killed training."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import CODE, Workspace, copy_code, environment
from tests.prefect_server import with_server

pytestmark = pytest.mark.slow

PACKED = Path(__file__).parent / "4a4d429.tar.xz"
MADE_AT = "/tmp/earlier/workspace"  # MLflow's database holds absolute paths
OLD_CODE = ("flows", "pipelines", "registry", "serving")  # its folders: not in the archive, for git has them
RELEASE = "835d620e068c12dc"  # live then
LOCATIONS = {
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "experiments": "artifact_location",
    "model_versions": "storage_location",
}


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """The workspace after its user pulled today's code."""
    made = _unpacked(tmp_path_factory.mktemp("earlier") / "workspace")
    for name in OLD_CODE:
        shutil.rmtree(made.path(name))
    copy_code(made.root)
    made.git("add", *CODE)
    made.git("commit", "-qm", "today's code")
    made.env |= with_server()
    yield made
    made.headrace("stop")


def _unpacked(root: Path) -> Workspace:
    """The workspace at its commit, moved to `root`."""
    with tarfile.open(PACKED) as packed:
        packed.extractall(root, filter="data")
    made = Workspace(root, environment(root))
    made.git("checkout", "-q", "HEAD", "--", *OLD_CODE)
    with closing(sqlite3.connect(root / "var/mlflow/mlflow.db")) as store, store:
        for table, column in LOCATIONS.items():
            store.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (MADE_AT, str(root)))
    return made


def test_its_version_and_its_release_answer_before_anything_runs(upgraded: Workspace) -> None:
    """The champion predicts, each of its parts is found and hashed, the live release is searched as it lies."""
    predicted = upgraded.headrace("predict", "tiny", "the film of story 1 is moving", "--json")
    assert predicted.returncode == 0, predicted.stderr
    lineage = upgraded.headrace("lineage", "tiny/1", "--json")
    assert lineage.returncode == 0, lineage.stdout + lineage.stderr
    found = upgraded.headrace("query", "tiny", "what does alarm E17 mean", "-k", "1")
    assert "filter is clogged" in found.stdout.splitlines()[1], found.stdout + found.stderr
    history = upgraded.headrace("history", "tiny", "--verify")
    assert history.returncode == 0, history.stdout + history.stderr


def test_its_version_is_made_again(upgraded: Workspace) -> None:
    """At its own commit, whose dvc.yaml has no stage `code` and whose stages lie elsewhere."""
    made = upgraded.headrace("reproduce", "tiny/1", timeout=500)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "equal" in made.stdout


def test_the_next_runs_go_on(upgraded: Workspace) -> None:
    """Past locks and checkpoints of the killed training: version 2, passages by today's rules, a clean `dvc status`."""
    recipe = upgraded.path("recipes/tiny.yaml")
    recipe.write_text(recipe.read_text().replace("epochs: 400", "epochs: 2"))
    for verb in ("run", "index"):
        done = upgraded.headrace(verb, "tiny", timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
    status = json.loads(upgraded.headrace("status", "--json").stdout)
    assert [recipe["newest"] for recipe in status["recipes"]] == ["2"]
    assert [index["previous"] for index in status["indexes"]] == [RELEASE], "what was live can come back"
    assert upgraded.dvc("status").stdout.strip().endswith("Data and pipelines are up to date.")
    freed = upgraded.headrace("gc")
    assert freed.returncode == 0, freed.stdout + freed.stderr
    history = upgraded.headrace("history", "tiny", "--verify")
    assert history.returncode == 0, history.stdout + history.stderr
