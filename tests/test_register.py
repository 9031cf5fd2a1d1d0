"""The stage over what the real stages made: verdict, version, aliases, receipt."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from core.atomic_files import read_json, sha256_file, sha256_json, write_json
from core.errors import BadData, Outage
from core.manifest import read_manifest, write_manifest
from core.schema.evaluation import Evaluation
from core.schema.model import Architecture, Compute, Model
from core.tables.task import Base
from core.workspace import Job, find_workspace
from pipelines.evaluate import evaluate
from pipelines.evidence.evidence import review
from pipelines.register.onnx_export import kept
from pipelines.register.register import run
from pipelines.tasks import find_task
from registry.promotion import promotion
from registry.store import signing, versions
from registry.store.connection import connect
from registry.store.overview import receipt_holds
from registry.version import evidence_files
from registry.version.onnx_choice import CLOSE, GRAPH, unfit
from tests.conftest import TINY_RECIPE, film_rows, make_workspace
from tests.places import a_learner, a_place, learnt
from tests.small_model import aliases, ask

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_children")]

GATES = """\
gates:
  accuracy: {at_least: 0.1}
  against_baseline: {at_least: -0.95, confidence: 0.9}
  against_champion: {at_least: -0.95, confidence: 0.9}
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A recipe whose stages up to evaluate have run."""
    made = make_workspace(tmp_path_factory.mktemp("register") / "workspace")
    made.write_rows(film_rows(240))
    made.write("recipes/tiny.yaml", TINY_RECIPE + GATES)
    made.write("recipes/tiny.lock", "source: {kind: path}\nbases: {}\nreference: null\n")
    made.live(recipes={"tiny": {"task": "text_classification", "watch": "rows.csv"}})
    for stage in ("settings", "collect", "validate", "preprocess", "train", "evaluate"):
        done = made.stage(stage, "tiny")
        assert done.returncode == 0, done.stderr
    return find_workspace(made.root).job("recipe", "tiny")


@pytest.fixture(scope="module")
def first(job: Job) -> dict[str, Any]:
    """The receipt of the first registration."""
    run(job)
    return receipt(job)


@pytest.fixture
def change(job: Job) -> Callable[..., None]:
    """Change sections of settings.json, as the settings stage would after an edit of the recipe."""

    def changed(**sections: Any) -> None:
        write_json(job.folder / "settings.json", {**job.settings, **sections})

    return changed


def receipt(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = read_json(job.folder / "registered.json")
    return found


def another_model(job: Job, weight: float = -1.0) -> None:
    """A model that answers otherwise, evaluated: the same encoder, its head's weights times a number."""
    file = job.folder / "model" / "model.safetensors"
    tensors = load_file(file)
    flipped = {name: value * weight if "head" in name and len(value) == 2 else value for name, value in tensors.items()}
    save_file(flipped, file)
    write_manifest(job.folder / "model", {})
    evaluate.run(job)


def judge_of(job: Job) -> promotion.Judge:
    return lambda version, champion: review(version, champion, job.workspace.var)


def test_the_first_model_becomes_champion(job: Job, first: dict[str, Any]) -> None:
    paper = first
    assert (paper["version"], paper["aliases"], paper["experiment"]) == ("1", ["challenger", "champion"], False)
    assert paper["verdict"]["passed"]
    assert [reason["gate"] for reason in paper["verdict"]["reasons"]] == [
        "accuracy", "against_baseline", "against_champion",
    ]  # fmt: skip
    assert "there is no champion yet" in paper["verdict"]["reasons"][2]["why"]
    assert receipt_holds(paper, job.workspace.var) is None


@pytest.mark.usefixtures("first")
def test_the_version_carries_its_origin_and_evidence(job: Job) -> None:
    version = versions.resolve("tiny", "1", job.workspace.var)
    assert version.tags["model_hash"] == sha256_json(read_manifest(job.folder / "model")["files"])
    for tag in ("raw_hash", "validated_hash", "prepared_hash", "recipe_hash", "base_hash", "dvc_lock_hash"):
        assert version.tags[tag]
    assert len(version.tags["code_commit"].removesuffix("-dirty")) == 40
    recorded_there = evidence_files.read(version, job.workspace.var)
    folder = versions.evidence(version, signing.BUNDLE, job.workspace.var)
    assert folder is not None
    kept = {path.relative_to(folder.parent).as_posix() for path in folder.parent.rglob("*") if path.is_file()}
    assert kept - {signing.BUNDLE} == recorded_there.hashes.keys(), "a file that is kept and has no hash"
    assert {"predictions.parquet", "profile.json", "metrics.json", "model-card.md", "dvc-lock.json"} < kept
    assert {"recipe.yaml", "recipe.lock", "settings.json", "report.md"} < kept
    assert (recorded_there.faults, recorded_there.whole) == ({}, True)
    run_of = connect(job.workspace.var).get_run(version.run_id)
    assert run_of.info.run_name == "tiny v1 pretrain"
    assert run_of.data.metrics["test.accuracy"] == read_json(job.folder / "evaluation" / "metrics.json")["accuracy"]
    assert "eval_loss" in run_of.data.metrics
    profile = read_json(job.folder / "validated" / "profile.json")
    assert evidence_files.champion_profile("tiny", job.workspace.var) == profile


def test_again_is_the_same_version_and_says_what_beats_it(
    job: Job, first: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    run(job)
    after = receipt(job)
    assert len(versions.versions("tiny", job.workspace.var)) == 1
    assert {**after, "verdict": None} == {**first, "verdict": None}
    said = capsys.readouterr().out
    assert "champion tiny/1 itself" in said
    assert "A baseline wins: tfidf has accuracy" in said
    assert said.splitlines()[-1] == "tiny version 1 @challenger @champion: gates passed"


@pytest.mark.usefixtures("first")
def test_predict_answers_as_the_evaluation_did(job: Job) -> None:
    rows = pd.read_parquet(job.folder / "evaluation" / "predictions.parquet")
    texts = pd.read_parquet(job.folder / "prepared" / "rows.parquet").set_index("row_id")["text"]
    inputs = [texts[row_id] for row_id in rows["row_id"][:8]]
    answers = ask("tiny", inputs, job.workspace.var, judge_of(job)).rows
    assert [answer["label"] for answer in answers] == rows["predicted"][:8].tolist()
    assert [a["confidence"] for a in answers] == pytest.approx(rows["confidence"][:8].tolist(), abs=1e-5)


@pytest.mark.usefixtures("first")
def test_an_experiment_is_judged_and_not_registered(
    job: Job, change: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "lanky-tofu")
    gates = job.settings["gates"]
    change(gates={"accuracy": {"at_least": 0.0, "at_most": None, "confidence": None}})
    run(job)
    change(gates=gates)
    paper = receipt(job)
    assert (paper["experiment"], paper["version"], paper["aliases"]) == (True, None, [])
    assert [reason["gate"] for reason in paper["verdict"]["reasons"]] == ["accuracy"]
    assert len(versions.versions("tiny", job.workspace.var)) == 1


@pytest.mark.usefixtures("first")
def test_a_server_that_is_down_leaves_the_receipt_and_may_be_tried_again(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (job.folder / "registered.json").read_bytes()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(Outage, match=r"MLflow server http://127\.0\.0\.1:9 .* does not answer") as raised:
        run(job)
    assert raised.value.transient
    assert (job.folder / "registered.json").read_bytes() == before


@pytest.mark.usefixtures("first")
def test_a_gate_that_refuses_keeps_the_version_and_lowered_lets_it_through(
    job: Job, change: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    gates = job.settings["gates"]
    another_model(job)
    change(gates={**gates, "accuracy": {"at_least": 1.1, "at_most": None, "confidence": None}})
    run(job)
    refused = receipt(job)
    assert (refused["version"], refused["aliases"], refused["verdict"]["passed"]) == ("2", [], False)
    said = capsys.readouterr().out
    assert "gate REFUSED (failed): accuracy" in said
    assert said.splitlines()[-1] == "tiny version 2: gates refused"
    assert aliases("tiny", job.workspace.var)["champion"] == "1"

    change(gates=gates)
    run(job)
    passed = receipt(job)
    reason = passed["verdict"]["reasons"][2]
    assert "than champion tiny/1 by" in reason["why"]
    assert "confidence, comparison 2 on these rows" in reason["why"]
    assert (passed["version"], passed["aliases"]) == ("2", ["challenger", "champion"])


def test_pictures_are_registered_with_an_example_that_can_be_asked(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "models" / "shapes"
    job = _picture_job(tmp_path, folder)
    run(job)
    assert receipt(job)["version"] == "1"
    picture = folder / "raw" / "media" / "0.png"
    [answer] = ask("shapes", [str(picture)], job.workspace.var, judge_of(job)).rows
    assert answer["label"] in ("dark", "light")
    version = versions.resolve("shapes", "champion", job.workspace.var)
    example = json.loads((versions.packed_folder(version, job.workspace.var) / "input_example.json").read_text())
    [again] = ask("shapes", [example["data"][0][0]], job.workspace.var, judge_of(job)).rows
    assert again["confidence"] == pytest.approx(answer["confidence"])

    bundle, graph = (versions.evidence(version, name, job.workspace.var) for name in ("evidence.json", GRAPH))
    assert bundle is not None
    assert graph is not None
    variant = read_json(bundle)["onnx"]
    assert (variant["rows"], variant["answers_differ"]) == (4, 0)
    assert variant["max_difference"] <= CLOSE
    assert variant["sha256"] == sha256_file(graph)
    assert variant["timing"].keys() == {"torch", "onnx"}
    assert kept(version, job.workspace.var) == (None if unfit(variant, variant["place"]) else variant)

    weights = versions.packed_folder(version, job.workspace.var) / versions.MODEL_FILES / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(BadData, match=r"shapes/1 is not used: model\.safetensors is not what its manifest says"):
        ask("shapes", [str(picture)], job.workspace.var, judge_of(job))


def _picture_job(root: Path, folder: Path) -> Job:
    """What the stages leave for an untrained picture model, as far as `register` reads it."""
    for name in ("raw/media", "validated", "prepared/encoder", "model", "evaluation"):
        (folder / name).mkdir(parents=True)
    rows = pd.DataFrame(
        {"row_id": [str(n) for n in range(8)], "split": ["train"] * 4 + ["test"] * 4,
         "path": [f"media/{n}.png" for n in range(8)],
         "label": ["dark", "light"] * 4, "width": 8, "height": 8, "mode": "L"}
    )  # fmt: skip
    for number, path in enumerate(rows["path"]):
        Image.fromarray(np.full((8, 8), 40 + 150 * (number % 2), dtype=np.uint8)).save(folder / "raw" / path)
    rows.to_parquet(folder / "prepared" / "rows.parquet")
    task = find_task("image_classification")
    settings = {"embedding_size": 8, "hidden_sizes": [8], "depths": [1], "layer_type": "basic"}
    architecture = Architecture(architecture="resnet", settings=settings)
    base = Base(architecture, None, None)
    encoder = folder / "prepared" / "encoder"
    task.prepare([rows], task.Preprocess(), a_place(encoder, base=base, media=folder / "raw"))
    module = a_learner(task, Model(base=architecture, method="pretrain"), a_place(encoder, base=base)).module
    task.save(learnt(module), a_place(encoder), into=folder / "model")
    write_json(folder / "model" / "history.json", [])
    write_json(folder / "validated" / "profile.json", {"rows": 8})
    for name in ("raw", "validated", "prepared", "model"):
        write_manifest(folder / name, {})
    write_json(
        folder / "settings.json",
        {
            "task": "image_classification", "gates": {},
            "registry": {"name": "shapes", "promote": "auto", "onnx": "auto"},
            "evaluation": Evaluation(primary="accuracy").model_dump(mode="json"), "bases": {},
            "examples": asdict(task.contract), "compute": Compute().model_dump(mode="json"),
            "data": {"source": "shapes", "licence": None},
            "model": Model(base=architecture, method="pretrain").model_dump(mode="json"),
        },
    )  # fmt: skip
    for name in ("dvc.yaml", "params.yaml"):
        (root / name).write_text("")
    job = find_workspace(root).job("recipe", "shapes")
    evaluate.run(job)
    return job
