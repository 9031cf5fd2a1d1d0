"""The embedder that a team trains on its pairs: its loss, its files, and the index that takes it from the registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML
from torch import nn

from core.atomic_files import read_json
from core.errors import BadRequest
from core.manifest import write_manifest
from core.schema.model import Architecture, Method, Model
from core.schema.reading import BadSettings
from core.tables.task import Base, Task
from core.weights.base_store import FOLDER, seal
from core.weights.pooling import max_tokens_of, pooling_of
from core.workspace import Job, Workspace
from pipelines.bases import identify, locked
from pipelines.collect import collect
from pipelines.evaluate import evaluate
from pipelines.preprocess import preprocess
from pipelines.recipes.observe import observe, write_lock
from pipelines.recipes.read import read_recipe
from pipelines.register import register
from pipelines.search.vectors.embedder import load
from pipelines.settings import settings
from pipelines.tasks import find_task
from pipelines.tasks.parts import tokens
from pipelines.tasks.parts.sentence_embedder import SCALE, SentenceEmbedder, scaled_cosines
from pipelines.tasks.text.sentence_embedding import EmbeddingPredictor
from pipelines.train import train
from pipelines.validate import validate
from registry.promotion.promotion import promote
from registry.store import versions
from registry.version import predict
from tests.conftest import ROOT, make_workspace
from tests.places import a_learner, a_place, learnt
from tests.small_model import trusting
from tests.small_pairs import ROWS, TEXTS, make_base, pair_rows

pytestmark = pytest.mark.usefixtures("warm_children")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return make_base(tmp_path_factory.mktemp("start") / "base")


@pytest.fixture
def task() -> Task:
    return find_task("sentence_embedding")


def _encoder(task: Task, base: Base, folder: Path, **options: int) -> Path:
    folder.mkdir(parents=True)
    task.prepare([ROWS], task.Preprocess.model_validate(options), a_place(folder, base=base, media=folder))
    return folder


def _trained(task: Task, base: Base, encoder: Path, method: Method) -> SentenceEmbedder:
    """A module whose weights training moved; adapters are zero before."""
    module = a_learner(task, Model(base=base.reference, method=method), a_place(encoder, base=base)).module
    assert isinstance(module, SentenceEmbedder)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return module.eval()


def _saved(task: Task, module: nn.Module, encoder: Path, folder: Path) -> Path:
    for name in (FOLDER, "model"):
        (folder / name).mkdir(parents=True)
    task.save(learnt(module), a_place(encoder), into=folder / "model", base=folder / FOLDER)
    seal(folder / FOLDER, folder / "model", reference="./base", sha256="0" * 64)
    write_manifest(folder / "model", {})
    return folder / "model"


def _said(predictor: Any, texts: list[str] = TEXTS) -> np.ndarray[Any, Any]:
    return np.stack(predictor.predict(pd.DataFrame({"query": texts}))["vector"])


def _unit(*shape: int) -> torch.Tensor:
    return nn.functional.normalize(torch.randn(*shape), dim=-1)


def test_the_loss_is_sentence_transformers() -> None:
    """With a given negative for each query behind the passages of the batch."""
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    torch.manual_seed(5)
    queries, passages, negatives = _unit(6, 8), _unit(6, 8), _unit(6, 8)
    labels = torch.arange(6)
    theirs = MultipleNegativesRankingLoss(model=nn.Identity(), scale=SCALE)  # type: ignore[arg-type]
    expected = theirs.compute_loss_from_embeddings([queries, passages, negatives], labels)
    logits = scaled_cosines(queries, torch.cat([passages, negatives]), torch.arange(12), labels)
    torch.testing.assert_close(nn.functional.cross_entropy(logits, labels), expected)


def test_an_equal_passage_is_no_negative() -> None:
    """Rows 0 and 2 have one passage, which is also the given negative of somebody else's row."""
    queries, passages = _unit(3, 4), _unit(4, 4)
    logits = scaled_cosines(queries, passages, torch.tensor([7, 8, 7, 7]), torch.arange(3))
    assert torch.isinf(logits).tolist() == [[False, False, True, True], [False] * 4, [True, False, False, True]]


def test_a_batch_holds_the_negatives_that_there_are(task: Task, base: Base, tmp_path: Path) -> None:
    encoder = _encoder(task, base, tmp_path / "encoder")
    table = task.encode(ROWS, a_place(encoder, media=tmp_path))
    learner = a_learner(task, Model(base=base.reference), a_place(encoder, base=base))
    batch = learner.collate(table.slice(0, 5).to_pylist())
    assert batch["query_ids"].shape[0] == 5
    assert batch["passage_ids"].shape[0] == 5 + 2
    assert batch["keys"][0] == batch["keys"][1], "rows 0 and 1 have one passage"
    assert len(set(batch["keys"].tolist())) == 6


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_embedder_of_an_index_has_the_vectors_of_training(
    task: Task, base: Base, tmp_path: Path, method: Method
) -> None:
    from sentence_transformers import SentenceTransformer

    encoder = _encoder(task, base, tmp_path / "encoder", max_tokens=12)
    module = _trained(task, base, encoder, method)
    tokenizer = tokens.read(encoder, max_tokens=12)
    expected = _said(EmbeddingPredictor(module, tokenizer=tokenizer, pad=0))
    model = _saved(task, module, encoder, tmp_path / method)
    assert (model / "model.safetensors").exists() == (method == "full")
    np.testing.assert_allclose(_said(task.load(model)), expected, atol=1e-6)

    found = locked(str(model), identify(str(model), tmp_path), tmp_path)
    embedder = load(found.folder, threads=1)
    assert embedder.reader.max_tokens == 12
    np.testing.assert_allclose(embedder.encode(TEXTS), expected, atol=1e-6)
    theirs = SentenceTransformer(str(found.folder), device="cpu")
    np.testing.assert_allclose(theirs.encode(TEXTS), expected, atol=1e-6)


def test_pooling_and_limit_are_those_of_the_base(task: Task, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base")
    assert base.folder is not None
    (base.folder / "1_Pooling").mkdir()
    (base.folder / "1_Pooling/config.json").write_text('{"pooling_mode_cls_token": true}')
    (base.folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]')
    (base.folder / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    encoder = _encoder(task, base, tmp_path / "encoder")
    assert (pooling_of(encoder), max_tokens_of(encoder)) == ("cls", 9)
    module = _trained(task, base, encoder, "full")
    model = _saved(task, module, encoder, tmp_path / "saved")
    np.testing.assert_allclose(load(model, threads=1).encode(TEXTS), _said(task.load(model)), atol=1e-6)


def test_what_cannot_be_fine_tuned_is_refused(task: Task, base: Base, tmp_path: Path) -> None:
    fresh = Base(Architecture(architecture="bert"), None, None)
    with pytest.raises(BadRequest, match=r"model.base: sentence_embedding goes on from an embedder.*Allowed: hub id"):
        _encoder(task, fresh, tmp_path / "fresh")
    with pytest.raises(BadRequest, match=r"preprocess.max_tokens: 64 is more than the 40 positions"):
        _encoder(task, base, tmp_path / "long", max_tokens=64)
    recipe = tmp_path / "pairs.yaml"
    recipe.write_text(RECIPE.replace("method: full", "method: transfer"))
    with pytest.raises(BadSettings, match=r"sentence_embedding has no method 'transfer'.*Allowed: full, lora"):
        read_recipe(recipe)


def test_by_default_no_passage_is_on_two_sides(tmp_path: Path) -> None:
    recipe = tmp_path / "pairs.yaml"
    recipe.write_text(RECIPE)
    assert read_recipe(recipe).data.split.group_by == "passage"
    recipe.write_text(RECIPE.replace("test: 0.3", "test: 0.3, group_by: article"))
    assert read_recipe(recipe).data.split.group_by == "article"


RECIPE = """\
task: sentence_embedding
data: {source: rows.csv, split: {train: 0.5, validation: 0.2, test: 0.3}}
preprocess: {max_tokens: 32}
model: {base: ./base, method: full}
training: {epochs: 2, batch_size: 16, learning_rate: 1.0e-3}
evaluation: {resamples: 100}
gates:
  against_baseline: {at_least: -0.9, baseline: base}
  against_champion: {at_least: -0.9}
compute: {threads: 1}
"""
INDEX = "documents: {source: docs, reader: folders}\nembed: {model: models:/pairs@champion}\n"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A recipe over pairs that went through every stage: version 1, full, is champion."""
    made = make_workspace(tmp_path_factory.mktemp("pairs") / "workspace")
    made.write_rows(pair_rows(200))
    made.write("recipes/pairs.yaml", RECIPE)
    made.write("indexes/notes.yaml", INDEX)
    made.write("docs/a.txt", "A note on story 3.")
    made.live(recipes={"pairs": {"task": "sentence_embedding", "watch": "rows.csv"}})
    make_base(made.path("base"))
    job = Workspace(made.root).job("recipe", "pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(made.root)
        write_lock(job, observe(job))
        for stage in (settings, collect, validate, preprocess):
            stage.run(job)
        _train_and_register(job)
        yield job


def _train_and_register(job: Job) -> None:
    for stage in (train, evaluate, register):
        stage.run(job)


@pytest.mark.slow
def test_a_promoted_embedder_moves_the_lock_of_its_index(job: Job, task: Task) -> None:
    """Full, then adapters on the same base: both from a real registry, each with its own vectors."""
    index, var = Workspace(job.workspace.root).job("index", "notes"), job.workspace.var
    metrics, report = (read_json(job.folder / "evaluation" / name) for name in ("metrics.json", "report.json"))
    assert metrics.keys() >= {"ndcg_at_10", "recall_at_10", "mrr"} and report["baselines"].keys() == {"base", "bm25"}
    found = []
    for version, method in (("1", "full"), ("2", "lora")):
        if method == "lora":
            job.settings_file.write_text(RECIPE.replace("method: full", "method: lora"))
            settings.run(job)
            _train_and_register(job)
            receipt = read_json(job.folder / "registered.json")
            assert (receipt["version"], receipt["aliases"]) == (version, ["challenger", "champion"]), receipt
        assert write_lock(index, observe(index)), "the alias moved"
        assert not write_lock(index, observe(index))
        told = settings.settings(index)["bases"]["models:/pairs@champion"]
        assert told["version"] == version
        folder = locked(
            "models:/pairs@champion", identify("models:/pairs@champion", job.workspace.root), index.workspace.root
        ).folder
        np.testing.assert_allclose(
            load(folder, threads=1).encode(TEXTS), _said(task.load(job.folder / "model")), atol=1e-6
        )
        found.append(told["sha256"])
    assert found[0] != found[1]
    stages = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    (reads,) = (params["data/indexes/${key}/settings.json"] for params in stages["embed"]["do"]["params"][1:])
    assert "bases" in reads, "so another version of the embedder makes the vectors stale"

    promote("pairs", "1", var, trusting, forced="the test asks for it")
    assert write_lock(index, observe(index))
    assert settings.settings(index)["bases"]["models:/pairs@champion"]["sha256"] == found[0]


@pytest.mark.slow
def test_a_registered_embedder_answers_with_a_vector(job: Job, task: Task) -> None:
    version = versions.resolve("pairs", "1", job.workspace.var)
    answers = predict.load_version(version, job.workspace.var).answer(TEXTS, local_files=False)
    assert [list(row) for row in answers.rows] == [["vector"]] * 3
    vectors = np.array([row["vector"] for row in answers.rows])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
