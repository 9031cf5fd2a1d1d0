"""A registry that somebody else may write to: what its versions hold is never run, and lies where it should."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from core.atomic_files import sha256_json
from core.errors import BadRequest
from core.manifest import read_manifest, write_manifest
from registry.store.connection import connect, database, exclusive
from registry.store.names import local_folder
from registry.store.versions import ABOUT_FILE, MODEL_FILES, MODEL_HASH, evidence, packed_folder, versions
from registry.version import register_version
from registry.version.answerer import load_answerer
from tests.conftest import ROOT
from tests.faults.hostile import code, pickled
from tests.small_model import candidate, make_small_model
from tests.warm import warm


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose store has registered films."""
    folder = tmp_path_factory.mktemp("registry") / "home"
    model = make_small_model(folder)
    (folder / "evidence").mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        (folder / name).write_text("{}\n")
    with exclusive(folder / "var"):
        register_version.register(candidate(model, folder / "evidence"), folder / "var")
    return folder


def predict(home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", "predict", "films", "a moving film"],
        cwd=home, env=warm({**os.environ, "PYTHONPATH": str(ROOT)}), input="yes\n" * 9, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_nothing_in_a_version_runs(home: Path) -> None:
    """Not its code, not its pickles, not the loader that MLflow would call; and a file that lies is named."""
    marker = home.parent / "marker"
    folder = packed_folder(versions("films", home / "var")[0], home / "var")
    (folder / "python_model.pkl").write_bytes(pickled(marker, ".pkl"))
    (folder / "MLmodel").write_text("flavors: {python_function: {loader_module: evil, python_model: python_model.pkl}}")
    for place in (folder / "code", folder / "code" / "pipelines", folder, folder / MODEL_FILES):
        (place / "evil.py").write_text(code(marker))
    served = list(folder.rglob("pyfunc.py"))
    assert folder / "pyfunc.py" in served
    for own in served:
        own.write_text(code(marker))
    done = predict(home)
    assert done.returncode == 0 and ("pos" in done.stdout or "neg" in done.stdout), done.stderr

    config = json.loads((folder / MODEL_FILES / "config.json").read_text())
    named = {**config, "model_type": "evil", "auto_map": {"AutoConfig": "evil.X", "AutoModel": "evil.X"}}
    rewrite(home, folder, json.dumps(named))
    done = predict(home)  # it is answered "yes" on stdin, where transformers would ask
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "config.json" in done.stderr and "'auto_map' names code to be run" in done.stderr, done.stderr
    rewrite(home, folder, json.dumps(config))

    for told, says in (
        ('{"task": "../../evil", "content": "text", "media": null}', r"no task '../../evil'"),
        ("[" * 9999, r"about.json: does not say"),
    ):
        (folder / ABOUT_FILE).write_text(told)
        with pytest.raises(BadRequest, match=says):
            load_answerer(folder / MODEL_FILES, folder / ABOUT_FILE)
    assert not marker.exists()


def rewrite(home: Path, folder: Path, config: str) -> None:
    """As who may write to the registry can: file, manifest and tag agree."""
    (folder / MODEL_FILES / "config.json").write_text(config)
    write_manifest(folder / MODEL_FILES, {})
    digest = sha256_json(read_manifest(folder / MODEL_FILES)["files"])
    connect(home / "var").set_model_version_tag("films", "1", MODEL_HASH, digest)


_PLACES = [
    "file:///etc", "/etc", "file:///etc/passwd;x", "{own}/../../../../etc", "{own}/%2e%2e/%2e%2e/x",
    "{own}/%252e%252e/x", "{own}/a#b", "{own}/a?b", "{own}/a;b", "{own}/a%00b", "file://elsewhere/share",
    "//elsewhere/share", "file:////elsewhere/share", "{own}\\..\\x", "../x", "file://[x", "{own}/link/x",
]  # fmt: skip


@pytest.mark.parametrize("place", _PLACES)
def test_where_a_version_says_that_its_files_are(home: Path, place: str) -> None:
    var = home / "var"
    own = var / "mlflow" / "artifacts"
    if not (own / "link").is_symlink():
        (own / "link").symlink_to(home.parent)
    version = versions("films", var)[0]
    with closing(sqlite3.connect(database(var))) as rows:
        (before,) = rows.execute("SELECT artifact_location FROM logged_models").fetchone()
        try:
            rows.execute("UPDATE logged_models SET artifact_location = ?", (place.format(own=own.as_uri()),))
            rows.commit()
            with pytest.raises(BadRequest, match=r"the artifact location .* is refused|which is not below"):
                packed_folder(version, var)
        finally:
            rows.execute("UPDATE logged_models SET artifact_location = ?", (before,))
            rows.commit()


@pytest.mark.parametrize("identity", ["../../x", "..", "/etc", "a/b", "a%2fb", "m-1;x", "m\0", "m\n", "", "-x"])
def test_ids_that_are_none(home: Path, identity: str) -> None:
    version = versions("films", home / "var")[0]
    before = sorted((home / "var").rglob("*"))
    with pytest.raises(BadRequest, match=r"films/1 names .* which is no id"):
        packed_folder(replace(version, model_id=identity), home / "var")
    with pytest.raises(BadRequest, match=r"films/1 names .* which is no id"):
        evidence(replace(version, run_id=identity), "profile.json", home / "var")
    assert sorted((home / "var").rglob("*")) == before


def test_who_may_say_where_files_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may not name a folder of this machine; a database that the user names may; both may name ours."""
    own = tmp_path / "mlflow" / "artifacts" / "1"
    elsewhere = (tmp_path / "elsewhere").as_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    assert local_folder(own.as_uri(), tmp_path) == own
    assert local_folder("mlflow-artifacts:/1/models/m-1/artifacts", tmp_path) is None
    assert local_folder("s3://bucket/1", tmp_path) is None
    with pytest.raises(BadRequest, match=r"http://127.0.0.1:5000 places files at"):
        local_folder(elsewhere, tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    assert local_folder(elsewhere, tmp_path) == tmp_path / "elsewhere"
