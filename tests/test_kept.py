"""Bases that are kept once: found by their hash, refused when they are others, and enough for a version to live on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from core.atomic_files import sha256_json
from core.errors import BadData, BadRequest
from core.manifest import read_manifest
from core.weights.base_store import FOLDER, NAMED, STORE, base_folder, cached, named_base, seal
from pipelines.tasks import find_task
from registry.store import versions
from registry.store.connection import exclusive, prepare_embedded
from registry.store.server_bases import bring
from registry.version import register_version as store
from tests.small_model import TEXTS, candidate, make_small_adapters


def write_pair(folder: Path, content: str = "weights") -> Path:
    """A model's folder and its base beside it. Returns folder/model."""
    for name in (FOLDER, "model"):
        (folder / name).mkdir(parents=True)
    (folder / FOLDER / "model.safetensors").write_text(content)
    seal(folder / FOLDER, folder / "model", reference="package://small", sha256="5" * 64)
    return folder / "model"


def hash_of(folder: Path) -> str:
    return sha256_json(read_manifest(folder)["files"])


def test_a_base_is_found_beside_the_model_and_in_the_store_above_it(tmp_path: Path) -> None:
    model = write_pair(tmp_path / "data")
    named = named_base(model)
    assert named is not None
    assert (named.reference, named.sha256, named.files) == (
        "package://small",
        "5" * 64,
        hash_of(tmp_path / "data/base"),
    )
    assert base_folder(model) == tmp_path / "data/base"
    version = tmp_path / "var/mlflow/artifacts/films/models/m-1/artifacts/model"
    shutil.copytree(model, version)
    store = tmp_path / "var" / STORE / named.files
    shutil.copytree(tmp_path / "data/base", store)
    assert base_folder(version) == store


def test_a_model_that_holds_all_its_weights_names_none(tmp_path: Path) -> None:
    for name in (FOLDER, "model"):
        (tmp_path / name).mkdir()
    seal(tmp_path / FOLDER, tmp_path / "model", reference="package://small", sha256="5" * 64)
    assert not (tmp_path / "model" / NAMED).exists()
    assert base_folder(tmp_path / "model") is None


def test_another_base_is_refused_with_both_hashes(tmp_path: Path) -> None:
    model, other = write_pair(tmp_path / "one"), write_pair(tmp_path / "two", "other weights")
    wanted, found = hash_of(tmp_path / "one/base"), hash_of(tmp_path / "two/base")
    shutil.rmtree(tmp_path / "one/base")
    with pytest.raises(BadRequest, match=rf"base package://small, kept as {wanted[:12]}, which is not on this machine"):
        base_folder(model)
    shutil.copytree(other.parent / FOLDER, tmp_path / "one/base")
    with pytest.raises(BadData, match=rf"kept as {wanted[:12]}, and to no other: .*/one/base: it holds {found[:12]}"):
        base_folder(model)


def test_a_damaged_base_is_refused_unless_a_whole_one_is_kept(tmp_path: Path) -> None:
    model = write_pair(tmp_path / "var" / "data")
    base = model.parent / FOLDER
    kept = tmp_path / "var" / STORE / hash_of(base)
    shutil.copytree(base, kept)
    (base / "model.safetensors").write_text("weighty")
    assert base_folder(model) == kept
    shutil.rmtree(kept)
    with pytest.raises(BadData, match=r"model.safetensors is not what its manifest says"):
        base_folder(model)


@pytest.mark.parametrize("said", ['{"reference": "x", "sha256": "y", "files": "../../etc"}', '{"files": "x"}', "[]"])
def test_a_name_that_is_no_hash_leads_nowhere(tmp_path: Path, said: str) -> None:
    (tmp_path / NAMED).write_text(said)
    with pytest.raises(BadRequest, match=r"base.json does not name a base by its sha256"):
        base_folder(tmp_path)


def test_equal_bases_are_equal_folders(tmp_path: Path) -> None:
    """DVC and the store keep them once, whatever the reference was called."""
    write_pair(tmp_path / "one")
    write_pair(tmp_path / "two")
    seal(tmp_path / "two/base", tmp_path / "two/model", reference="./elsewhere", sha256="6" * 64)
    one, two = ((tmp_path / name / "base/manifest.json").read_bytes() for name in ("one", "two"))
    assert one == two
    assert json.loads((tmp_path / "two/model/base.json").read_text())["reference"] == "./elsewhere"


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models of adapters on one base."""
    folder = tmp_path_factory.mktemp("adapters")
    return [make_small_adapters(folder / str(seed), seed=seed) for seed in (1, 2)]


def register(model: Path, var: Path, evidence: Path) -> versions.Version:
    evidence.mkdir(exist_ok=True)
    with exclusive(var):
        return store.register(candidate(model, evidence, promote=False), var).version


def said(model: Path) -> np.ndarray[Any, Any]:
    return find_task("text_classification").load(model).predict(pd.DataFrame({"text": TEXTS}))["probabilities"]


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_versions_hold_adapters_and_live_on_without_what_they_came_from(adapters: list[Path], tmp_path: Path) -> None:
    var, models = tmp_path / "var", [tmp_path / "1/model", tmp_path / "2/model"]
    for source, model in zip(adapters, models, strict=True):
        shutil.copytree(source.parent, model.parent)
    expected = [said(model) for model in models]
    made = [register(model, var, tmp_path / "evidence") for model in models]
    for model in models:
        shutil.rmtree(model.parent)
    packed = [versions.packed_folder(version, var) / versions.MODEL_FILES for version in made]
    for model, before in zip(packed, expected, strict=True):
        np.testing.assert_array_equal(said(model), before)
        assert size(model.parents[1]) <= size(model / "adapter") + 1_000_000
    assert not np.array_equal(expected[0], expected[1])
    (weights,) = var.rglob("model.safetensors")
    assert weights.parent.parent == var / STORE

    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(
        BadData, match=r"adds to the base ./start, kept as .*model.safetensors is not what its manifest"
    ):
        versions.packed_folder(made[0], var)
    shutil.rmtree(weights.parent)
    with pytest.raises(BadRequest, match=r"adds to the base ./start, kept as .*, which is not on this machine"):
        versions.packed_folder(made[0], var)
    again = shutil.copytree(adapters[0].parent, models[0].parent) / "model"
    assert register(again, var, tmp_path / "evidence").version == made[0].version
    assert versions.packed_folder(made[0], var).is_dir()


@pytest.mark.slow
def test_a_server_keeps_the_base_once_and_everyone_gets_it(
    adapters: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", prepare_embedded(tmp_path / "server"))
    monkeypatch.chdir(tmp_path / "server")  # where MLflow's databases put files unless told otherwise
    mine, others = tmp_path / "mine/var", tmp_path / "others/var"
    made = [register(model, mine, tmp_path / "evidence") for model in adapters]
    assert len(list((tmp_path / "server").rglob("model.safetensors"))) == 1
    for version, source in zip(made, adapters, strict=True):
        for var in (mine, others):
            model = versions.packed_folder(version, var) / versions.MODEL_FILES
            np.testing.assert_array_equal(said(model), said(source))
        assert len(list(others.rglob("model.safetensors"))) == 1

    lone = shutil.copytree(adapters[0], tmp_path / "elsewhere/model")
    bring(lone)
    np.testing.assert_array_equal(said(lone), said(adapters[0]))
    named = named_base(lone)
    assert named is not None
    (cached(named.files) / "model.safetensors").write_bytes(b"damaged")
    bring(lone)
    np.testing.assert_array_equal(said(lone), said(adapters[0]))


@pytest.mark.slow
def test_mlflow_alone_loads_adapters(adapters: list[Path], tmp_path: Path) -> None:
    """Without this project and without its var/: from a copy, as a server's client has it."""
    uri = prepare_embedded(tmp_path / "server")
    code = (
        "import sys, json, mlflow, pandas\n"
        "model = mlflow.pyfunc.load_model('models:/films/1', dst_path=sys.argv[1])\n"
        "answers = model.predict(pandas.DataFrame({'text': json.loads(sys.argv[2])}))\n"
        "print(json.dumps([answers.to_dict('list'), 'peft' in sys.modules]))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {
        "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true", "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.chdir(tmp_path)
        register(adapters[0], tmp_path / "var", tmp_path / "evidence")
    (tmp_path / "copy").mkdir()
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path / "copy"), json.dumps(TEXTS)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers, with_peft = json.loads(done.stdout.splitlines()[-1])
    assert answers["confidence"] == pytest.approx(said(adapters[0]).max(axis=1), abs=1e-6)
    assert not with_peft
