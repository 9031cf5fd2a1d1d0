"""The battery that every task goes through. A new task joins by being a file; SAMPLES says what it learns from."""

from __future__ import annotations

import gc
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from core.atomic_files import sha256_file
from core.schema.model import Architecture, Model
from core.tables.learner import TorchLearner
from core.tables.prepared import ENCODER, read_features, read_rows
from core.tables.spans import entities
from core.tables.statistics import whole
from core.tables.task import Base, Place, Predictions, Task
from pipelines.bases import identify
from pipelines.tasks import find_task, task_files
from pipelines.tasks.parts.pictures import drawn
from pipelines.train.batches import EncodedRows
from tests.conftest import TINY_RECIPE, Workspace, film_rows, make_workspace
from tests.places import a_learner, a_place
from tests.small_pairs import make_base, pair_rows

pytestmark = pytest.mark.slow

BATCH = 16
FLAT_BYTES = 30e6


@dataclass(frozen=True)
class Sample:
    """Data with one planted fault, and a network small enough to learn from it in seconds.

    architecture: None for a task that goes on from a base, which `write` then leaves in start/. said: of predictions,
    what is compared between two ways to get them. expected: the same from the module itself, and how close that is.
    """

    write: Callable[[Workspace], None]
    recipe: str
    fault: str  # words of the reason that quarantine gives
    architecture: Architecture | None
    said: Callable[[Predictions], np.ndarray[Any, Any]] = lambda said: said["probabilities"]
    expected: Callable[[Any, dict[str, torch.Tensor], pd.DataFrame], torch.Tensor] = lambda module, batch, units: (
        module(**batch).logits.softmax(dim=-1)
    )
    close: float = 1e-5


def _texts(workspace: Workspace) -> None:
    workspace.write_rows([*film_rows(160), {"text": "  ", "label": "pos"}])


def _pictures(workspace: Workspace) -> None:
    random = np.random.default_rng(1)
    for number in range(160):
        pixels = random.integers(0, 120, (12, 12), dtype=np.uint8)
        label = ("left", "right")[number % 2]
        pixels[:, slice(0, 6) if label == "left" else slice(6, 12)] += 120
        file = workspace.path("pictures", label, f"{number}.png")
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    workspace.path("pictures", "left", "torn.png").write_bytes(_png(pixels)[:60])


def _pairs(workspace: Workspace) -> None:
    workspace.write_rows([*pair_rows(160), {"query": "who wrote story 7", "passage": " ", "negative": ""}])
    make_base(workspace.path("start"))
    identity = identify("./start", workspace.root).model_dump()
    workspace.write("recipes/tiny.lock", json.dumps({"source": {"kind": "path"}, "bases": {"./start": identity}}))


def _steps(workspace: Workspace) -> None:
    rows = [
        {"time": f"2016-07-{1 + at // 24:02}T{at % 24:02}:00", "value": math.sin(at * math.pi / 3)} for at in range(200)
    ]
    workspace.write_rows([*rows, {"time": "yesterday", "value": 1.0}])


def _entities(workspace: Workspace) -> None:
    lines = []
    for at in range(160):
        name, place = ("Ann", "Bo", "Cy Twombly")[at % 3].split(), ("Rome", "New York")[at % 2].split()
        words = [*name, "goes", "to", *place, "again", str(at)]
        tags = ["B-per", *["I-per"] * (len(name) - 1), "O", "O", "B-loc", *["I-loc"] * (len(place) - 1), "O", "O"]
        lines += [f"{word}\t{tag}" for word, tag in zip(words, tags, strict=True)] + [""]
    workspace.write("rows.conll", "\n".join([*lines, "lost B_per"]))


def _least_sure(module: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """How sure a module is of the span that it is least sure of, a text: the mean over the span's words."""
    sure, tags = module(**batch).logits.softmax(dim=-1).max(dim=-1)
    names = ["O", "B-loc", "I-loc", "B-per", "I-per"]
    least = []
    for row, words in enumerate(batch["labels"] >= 0):
        found = entities([names[tag] for tag in tags[row][words]])
        means = [float(sure[row][words][span.start : span.end].mean()) for span in found]
        least.append(min(means, default=1.0))
    return torch.tensor(least)


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


_BERT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
_PICTURES = "data: {source: pictures, reader: labelled_folders, split: {train: 0.6, validation: 0.2, test: 0.2}}"
SAMPLES = {
    "text_classification": Sample(_texts, TINY_RECIPE, "empty", Architecture(architecture="bert", settings=_BERT)),
    "image_classification": Sample(
        _pictures,
        f"task: image_classification\n{_PICTURES}\nmodel: {{base: {{architecture: resnet}}, method: pretrain}}\n",
        "picture",
        Architecture(architecture="resnet", settings=_RESNET),
    ),
    "token_classification": Sample(
        _entities,
        "task: token_classification\ndata: {source: rows.conll, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
        "model: {base: {architecture: bert}, method: pretrain}\n",
        "'B_per' is no tag",
        Architecture(architecture="bert", settings=_BERT),
        said=lambda said: said["confidence"],
        expected=_least_sure,
    ),
    "sentence_embedding": Sample(
        _pairs,
        "task: sentence_embedding\ndata: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
        "model: {base: ./start}\n",
        "empty",
        None,
        said=lambda said: np.stack(list(said["vector"])),
        expected=lambda module, batch, units: module.embed(batch["query_ids"], batch["query_mask"]),
    ),
    "image_generation": Sample(
        _pictures,
        f"task: image_generation\n{_PICTURES}\npreprocess: {{size: 8}}\n"
        "model: {base: {architecture: gan}, method: pretrain}\n",
        "picture",
        Architecture(architecture="gan", settings={"noise": 4, "width": 8}),
        said=lambda said: drawn.as_pictures(np.stack([drawn.from_uri(uri) for uri in said["picture"]])).numpy(),
        expected=lambda module, batch, units: (
            module.sampler(drawn.noise(units["seed"], module.sampler.noise_shape), batch["labels"]).pictures
        ),
        close=1.01 / 127.5,  # a level of 255
    ),
    "time_series_forecasting": Sample(
        _steps,
        "task: time_series_forecasting\n"
        "data: {source: rows.csv, split: {time: time, train: 0.6, validation: 0.2, test: 0.2, gap: 1}}\n"
        "preprocess: {context: 12, horizon: 4, season: 6, stride: 1}\n"
        "model: {base: {architecture: lstm}, method: pretrain}\n",
        "not a time",
        Architecture(architecture="lstm", settings={"hidden_size": 16}),
        said=lambda said: said["forecast"],
        expected=lambda module, batch, units: module(past=batch["past"]).forecast.flatten(1),
    ),
}


@dataclass(frozen=True)
class Prepared:
    task: Task
    sample: Sample
    folder: Path

    @property
    def encoder(self) -> Path:
        return self.folder / "prepared" / ENCODER

    @property
    def base(self) -> Base:
        if self.sample.architecture is not None:
            return Base(self.sample.architecture, None, None)
        return Base("./start", self.folder.parents[2] / "start", "0" * 64)

    def at(self, seed: int = 7) -> Place:
        return a_place(self.encoder, base=self.base, media=self.folder / "raw", seed=seed)

    def learner(self, seed: int = 7) -> TorchLearner:
        fresh = self.sample.architecture is not None
        model = Model(base=self.base.reference, method="pretrain" if fresh else "full")
        return a_learner(self.task, model, self.at(seed))

    def batch(self, learner: TorchLearner, count: int = BATCH) -> dict[str, torch.Tensor]:
        rows = EncodedRows(learner.features(read_features(self.folder / "prepared", "train")))
        return learner.collate(rows.__getitems__(range(count)))

    def rows(self) -> pd.DataFrame:
        return read_rows(self.folder / "prepared", "test")

    def units(self) -> pd.DataFrame:
        return self.task.units(self.rows(), self.encoder)

    def predict(self, model: Path) -> Predictions:
        return self.task.load(model).predict(self.units(), self.folder / "raw")


@pytest.fixture(scope="module", params=sorted(task_files()))
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A workspace that went up to `preprocess`."""
    name: str = request.param
    sample, workspace = SAMPLES[name], make_workspace(tmp_path_factory.mktemp(name) / "workspace")
    workspace.write("recipes/tiny.yaml", sample.recipe)
    workspace.write("recipes/tiny.lock", "source: {kind: path}\nbases: {}\nreference: null\n")
    sample.write(workspace)
    workspace.live(recipes={"tiny": {"task": name, "watch": "recipes/tiny.yaml"}})
    for stage in ("settings", "collect", "validate", "preprocess"):
        done = workspace.stage(stage, "tiny")
        assert done.returncode == 0, done.stderr
    torch.set_num_threads(1)
    return Prepared(find_task(name), sample, workspace.path("data/models/tiny"))


def test_every_task_is_found_and_has_a_sample() -> None:
    assert len(task_files()) == 5
    assert SAMPLES.keys() == set(task_files())


def test_the_contract_catches_a_planted_fault(prepared: Prepared) -> None:
    quarantine = pq.read_table(prepared.folder / "validated/quarantine.parquet").to_pylist()
    assert len(quarantine) == 1
    assert prepared.sample.fault in quarantine[0]["reason"]


def test_one_batch_is_overfitted(prepared: Prepared) -> None:
    learner = prepared.learner()
    module, batch = learner.module, prepared.batch(learner)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=5e-3)
    module.train()
    for _ in range(80):
        optimizer.zero_grad()
        loss = learner.turns[0].loss(module, batch)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_a_saved_model_predicts_the_same_and_is_the_same_file(prepared: Prepared, tmp_path: Path) -> None:
    learner = prepared.learner()
    module = learner.module
    learner.turns[0].loss(module, prepared.batch(learner))  # moves what only moves in training: a batch norm's means
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        prepared.task.save(learner, prepared.at(), into=tmp_path / name)
    assert _hashes(tmp_path / "first") == _hashes(tmp_path / "second")
    said = prepared.predict(tmp_path / "first")
    features = EncodedRows(learner.features(read_features(prepared.folder / "prepared", "test")))
    batch = learner.collate(features.__getitems__(range(len(features))))
    with torch.inference_mode():
        expected = prepared.sample.expected(module.eval(), batch, prepared.units()).numpy()
    np.testing.assert_allclose(prepared.sample.said(said), expected, atol=prepared.sample.close)


def test_a_row_is_answered_alone_as_among_others(prepared: Prepared, tmp_path: Path) -> None:
    prepared.task.save(prepared.learner(), prepared.at(), into=tmp_path)
    predictor, units = prepared.task.load(tmp_path), prepared.units()
    together = predictor.predict(units, prepared.folder / "raw")
    alone = predictor.predict(units.iloc[[3]], prepared.folder / "raw")
    said = prepared.sample.said
    np.testing.assert_allclose(said(alone)[0], said(together)[3], atol=1e-6)
    assert len(predictor.answers(together)) == len(units)


def test_equal_seeds_begin_equally_and_others_do_not(prepared: Prepared) -> None:
    first, again, other = (torch.cat([p.flatten() for p in prepared.learner(s).module.parameters()]) for s in (7, 7, 8))
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (prepared.sample.architecture is None), "a base's weights are not drawn"


def test_memory_stays_flat(prepared: Prepared, tmp_path: Path) -> None:
    learner = prepared.learner()
    prepared.task.save(learner, prepared.at(), into=tmp_path)
    predictor, rows, units = prepared.task.load(tmp_path), prepared.rows(), prepared.units()

    def work(rounds: int) -> float:
        for _ in range(rounds):
            learner.turns[0].loss(learner.module, prepared.batch(learner)).backward()
            prepared.task.encode(rows, prepared.at())
            predictor.predict(units, prepared.folder / "raw")
        gc.collect()
        return float(psutil.Process().memory_info().rss)

    before = work(10)
    assert work(40) - before < FLAT_BYTES


def test_baselines_and_metrics_fit_each_other(prepared: Prepared) -> None:
    train, units = read_rows(prepared.folder / "prepared", "train"), prepared.units()
    baselines = prepared.task.baselines(train, units, prepared.at())
    truth = prepared.task.truth(units, prepared.at())
    scores = [whole(prepared.task.score, prepared.task.measure({**said, **truth})) for said in baselines.values()]
    assert len(scores) >= 2
    assert all(each.keys() == prepared.task.metrics.keys() for each in scores)
    sign = 1 if prepared.task.metrics[prepared.task.primary] else -1
    trivial, *others = (sign * each[prepared.task.primary] for each in scores)
    assert min(others) > trivial + 0.2, "the truth can be told from the inputs, so a real baseline sees it"


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}
