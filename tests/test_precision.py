"""int8 and what may choose it; vectors that one index takes from another."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import BadRequest
from core.manifest import read_manifest
from core.workspace import Workspace
from pipelines.bases import identify, resolve
from pipelines.chunk import chunk
from pipelines.embed import embed, precision
from pipelines.embed import int8 as quantised
from pipelines.search.vectors import embedder
from pipelines.search.vectors.vector_table import Filling, as_keys, read
from tests import small_index
from tests.small_index import MODEL, STORY

FOLDER = resolve(MODEL, Path()).folder
DOCUMENTS = {f"{n}.txt": STORY.replace("night", f"night of the year {n}") for n in range(24)}


def counts(capsys: Any) -> tuple[list[int], str]:
    said = capsys.readouterr().err
    found = re.findall(r"embed: ([\d,]+) new, ([\d,]+) reused, ([\d,]+) dropped", said)
    return [int(number) for number in found[-1]], said


def one_layer(folder: Path) -> Path:
    """MiniLM's first layer: what is quantised soon."""
    shutil.copytree(FOLDER, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    return folder


@pytest.mark.slow
def test_int8_is_calibrated_once_and_questions_use_it(tmp_path: Any, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(quantised, "TEXTS", 4)
    monkeypatch.setattr(quantised, "BOUND", 1.0)  # four texts calibrate nothing well
    job, model = small_index.make(tmp_path, DOCUMENTS), one_layer(tmp_path / "model")
    bases = {str(model): {"sha256": identify(str(model), tmp_path).sha256, "version": None}}
    small_index.settings(job, embed={"model": str(model), "precision": "int8"}, bases=bases)
    chunk.run(job)
    embed.run(job)
    vectors = job.folder / "vectors"
    first, manifest = read(vectors / "vectors.parquet"), read_manifest(vectors)
    assert "calibrating int8 on 4 texts" in counts(capsys)[1]
    assert manifest["embedder"]["precision"] == "int8"
    assert manifest["int8"]["passed"]
    assert manifest["int8"]["questions"] == 24
    assert not (job.workspace.var / "vectors" / "small").exists()

    texts = embed.read_texts(job.folder / "chunks" / "chunks.parquet", first.keys)
    asked = embedder.load_for(manifest["embedder"], model, vectors).encode(list(texts.values()))
    assert (asked == first.matrix[np.searchsorted(first.keys, as_keys(list(texts)))]).all()
    exact = embedder.load(model, threads=1).encode(list(texts.values()))
    cosine = (asked * exact).sum(axis=1)
    assert 0.9 < cosine.min() < cosine.max() < 0.9999

    small_index.screened(job, {**DOCUMENTS, "3.txt": STORY.replace("night", "spring")})
    chunk.run(job)
    embed.run(job)
    (new, reused, dropped), said = counts(capsys)
    assert (new, reused, dropped) == (1, 23, 1)
    assert "calibrating" not in said
    assert read_manifest(vectors)["embedder"] == manifest["embedder"]

    (vectors / "int8" / "model.xml").unlink()
    with pytest.raises(BadRequest, match="the int8 model that made these vectors is missing"):
        embedder.load_for(manifest["embedder"], model, vectors)


def test_an_index_too_small_to_judge_int8_is_embedded_in_fp32(tmp_path: Any, capsys: Any) -> None:
    job = small_index.make(tmp_path, {"a.txt": STORY})
    small_index.settings(job, embed={"model": MODEL, "precision": "int8"})
    chunk.run(job)
    embed.run(job)
    assert "int8 is not used: 1 known items are too few to judge it by, 20 are needed" in counts(capsys)[1]
    manifest = read_manifest(job.folder / "vectors")
    assert manifest["embedder"]["precision"] == "fp32"
    assert manifest["int8"]["passed"] is False


@pytest.mark.parametrize(("int8", "passed"), [(0.9, True), (0.896, True), (0.894, False)])
def test_the_bound(int8: float, passed: bool) -> None:
    judgement = quantised.Judgement(256, 0.9, int8, 0.99)
    assert judgement.passed is passed
    assert ("is refused" in str(judgement)) is not passed


def test_a_refusal_is_remembered(tmp_path: Any) -> None:
    found = resolve(MODEL, Path())
    refused = {"method": quantised.METHOD, "questions": 256, "passed": False}
    said = {"weights": found.sha256, "method": precision.METHOD, "precision": "fp32", "engine": "openvino"}
    (tmp_path / "manifest.json").write_text(json.dumps({"embedder": said, "int8": refused}))
    model = precision.choose("int8", found, tmp_path, tmp_path, as_keys(["k"]), lambda _: {}, 1)
    assert (model.said["precision"], model.judged) == ("fp32", refused)


def test_auto_keeps_what_the_index_has(tmp_path: Any, monkeypatch: Any) -> None:
    found = resolve(MODEL, Path())

    def chosen(folder: Path) -> Any:
        return precision.choose("auto", found, folder, tmp_path / "work", as_keys(["k"]), lambda _: {}, 1).said

    assert chosen(tmp_path / "none")["precision"] == "fp32"  # too few texts to gain anything
    said = {"weights": found.sha256, "method": precision.METHOD, "precision": "bf16"}
    (tmp_path / "manifest.json").write_text(json.dumps({"embedder": said}))
    assert chosen(tmp_path)["precision"] == "bf16"
    (tmp_path / "manifest.json").write_text(json.dumps({"embedder": {**said, "weights": "others"}}))
    assert chosen(tmp_path)["precision"] == "fp32"


def test_int8_of_a_model_that_has_none(tmp_path: Any) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "distilbert"}')
    base = type(resolve(MODEL, Path()))(tmp_path, "0" * 64, None)
    with pytest.raises(BadRequest, match="int8 is there for BERT models"):
        precision.choose("int8", base, tmp_path, tmp_path, as_keys(["k"]), lambda _: {}, 1)


@pytest.mark.slow
def test_vectors_of_another_index_are_taken_over(tmp_path: Any, capsys: Any) -> None:
    job = small_index.make(tmp_path, {"a.txt": STORY, "b.txt": "Rain fell."})
    chunk.run(job)
    embed.run(job)
    counts(capsys)
    other = Workspace(tmp_path).job("index", "other")
    small_index.settings(other, chunk={"tokens": 128, "overlap": 0})
    small_index.screened(other, {"b.txt": "Rain fell.", "c.txt": "Snow fell."})
    chunk.run(other)
    embed.run(other)
    assert counts(capsys)[0] == [1, 1, 0]
    shutil.rmtree(other.folder / "vectors")
    theirs = job.folder / "vectors" / "vectors.parquet"
    theirs.write_bytes(theirs.read_bytes()[:-100])
    embed.run(other)
    assert counts(capsys)[0] == [2, 0, 0]  # damaged ones are not


def test_filling() -> None:
    found = Filling(as_keys(["a", "c", "d"]))
    matrix = np.arange(8, dtype=np.float32).reshape(4, 2)
    assert found.put(as_keys(["z", "c", "b", "a"]), matrix) == 2
    assert found.missing.tolist() == [b"d"]
    assert found.put(as_keys(["a", "d"]), matrix[:2]) == 1  # the first found stays
    assert found.matrix.tolist() == [[6, 7], [2, 3], [2, 3]]
