"""The battery that every task goes through, in this process. A new task joins by a file of tests/samples/.

A family takes at most MOST_STEPS optimizer steps and one process of its own, that of the packed model.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
import torch
from mlflow.models import Model as MlflowModel
from torch.optim.optimizer import register_optimizer_step_pre_hook

from core.atomic_files import sha256_file
from core.manifest import write_manifest
from core.schema.columns import ROW_ID, Contract
from core.schema.model import Architecture, Model, Training
from core.tables.learner import TorchLearner
from core.tables.predictions import Answered, write_predictions
from core.tables.prepared import ENCODER, Rows, read_features, read_rows
from core.tables.statistics import whole
from core.tables.task import Base, ByLabel, ByRow, Place, Predictions, Task, as_sent
from core.workspace import Job
from core.workspace import Workspace as Root
from pipelines.collect import collect
from pipelines.evaluate import evaluate
from pipelines.evidence import differences
from pipelines.evidence.comparison import Common, common_rows
from pipelines.evidence.forest import forest
from pipelines.preprocess import preprocess
from pipelines.settings import settings
from pipelines.tasks import find_task, task_files
from pipelines.tasks.parts.answers import ranking
from pipelines.train import loop
from pipelines.train.batches import EncodedRows
from pipelines.train.checkpoints import Checkpoints
from pipelines.train.train import train
from pipelines.validate import validate
from registry.store.versions import ABOUT_FILE, MODEL_FILES, Version
from registry.version.answerer import load_answerer
from registry.version.packing import Contents, pack
from registry.version.predict import Loaded
from registry.version.trial import Trial, difference, rehearse
from serving.app import make_app
from serving.http.api_keys import OPERATOR, Keys
from serving.http.threads import Workers
from serving.indexes.indexes import Indexes
from serving.models.champions import Champion, Champions
from tests.conftest import Workspace, copy_code
from tests.places import a_learner
from tests.samples import Sample, samples
from tests.served_index import updates_by
from tests.small_model import trusting
from tests.warm import warm_python

pytestmark = pytest.mark.slow

MOST_STEPS = 40  # of optimizers, a family
OVERFIT_STEPS = 13
BATCH = 16
FLAT_BYTES = 30e6
ASKED = 4  # inputs of the packed model
TRAINING = Training(epochs=2, batch_size=48, learning_rate=5e-3, average=0.8, patience=2)
CUT_AT = 3  # updates, in the middle of the second epoch


class PowerCutError(Exception):
    """What ends a training here."""


@dataclass
class Prepared:
    """A recipe that went up to `preprocess`; train() makes its model. steps: of optimizers, so far."""

    task: Task
    sample: Sample
    job: Job
    steps: list[int] = field(default_factory=lambda: [0])
    began: float = field(default_factory=time.process_time)

    @property
    def folder(self) -> Path:
        return self.job.folder

    @property
    def base(self) -> Base:
        if self.sample.architecture is not None:
            return Base(self.sample.architecture, None, None)
        return Base("./start", self.job.workspace.root / "start", "0" * 64)

    def at(self, seed: int = 7) -> Place:
        prepared = self.folder / "prepared" / ENCODER
        return Place(prepared, self.folder / "raw", self.job.workspace.var / "features", self.base, seed)

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
        return self.task.units(self.rows(), self.at().folder)

    def predict(self, model: Path) -> Predictions:
        return self.task.load(model).predict(self.units(), self.folder / "raw")

    def saved(self, learner: Any, into: Path) -> Path:
        into.mkdir(parents=True)
        self.task.save(learner, self.at(), into=into)
        write_manifest(into, {})
        return into


@pytest.fixture(scope="module", params=sorted(task_files()))
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    name, root = request.param, tmp_path_factory.mktemp(request.param) / "workspace"
    sample, workspace = samples()[name], Workspace(root, {})
    root.mkdir()
    copy_code(root)
    workspace.write("recipes/tiny.yaml", sample.recipe)
    workspace.write("recipes/tiny.lock", "source: {kind: path}\nbases: {}\nreference: null\n")
    workspace.live(recipes={"tiny": {"task": name, "watch": "recipes/tiny.yaml"}})
    sample.write(workspace)
    torch.set_num_threads(1)
    made = Prepared(find_task(name), sample, Root(root).job("recipe", "tiny"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for stage in (settings, collect, validate, preprocess):
            stage.run(Root(root).job("recipe", "tiny"))
    made.job = Root(root).job("recipe", "tiny")

    def count(*_: Any) -> None:
        made.steps[0] += 1

    counted = register_optimizer_step_pre_hook(count)
    yield made
    counted.remove()


def test_every_task_has_a_sample() -> None:
    assert samples().keys() == set(task_files())


def test_the_contract_catches_a_planted_fault(prepared: Prepared) -> None:
    quarantine = pq.read_table(prepared.folder / "validated/quarantine.parquet").to_pylist()
    assert len(quarantine) == 1
    assert prepared.sample.fault in quarantine[0]["reason"]


def test_one_batch_is_overfitted(prepared: Prepared) -> None:
    learner = prepared.learner()
    module, batch = learner.module, prepared.batch(learner)
    optimizer = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], lr=prepared.sample.rate)
    module.train()
    losses = []
    for _ in range(OVERFIT_STEPS):
        optimizer.zero_grad()
        loss = learner.turns[0].loss(module, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_a_training_cut_short_goes_on_to_the_same_file(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a moving average, and as many optimizers as the task has; what is trained is the model of later tests."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
    rows, places = prepared.folder / "prepared", prepared.folder.parent
    whole_one, again = prepared.learner(), prepared.learner()

    def listen(step: int, metrics: Any) -> None:
        pass

    def cut(step: int, metrics: Any) -> None:
        if step == CUT_AT:
            raise PowerCutError

    train(whole_one, TRAINING, prepared=rows, listen=listen)
    checkpoints = Checkpoints(places / "checkpoints")
    with pytest.raises(PowerCutError):
        train(prepared.learner(), TRAINING, prepared=rows, listen=cut, checkpoints=checkpoints)
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == CUT_AT - 1
    train(again, TRAINING, prepared=rows, listen=listen, checkpoints=checkpoints)
    first, second = prepared.saved(whole_one, prepared.folder / "model"), prepared.saved(again, places / "again")
    assert _hashes(first) == _hashes(second)


def test_a_saved_model_predicts_the_same_and_is_the_same_file(prepared: Prepared, tmp_path: Path) -> None:
    learner = prepared.learner()
    module = learner.module
    learner.turns[0].loss(module, prepared.batch(learner))  # moves what only moves in training: a batch norm's means
    first, second = (prepared.saved(learner, tmp_path / name) for name in ("first", "second"))
    assert _hashes(first) == _hashes(second)
    said, units, encoded = (
        prepared.predict(first),
        prepared.units(),
        read_features(prepared.folder / "prepared", "test"),
    )
    features = EncodedRows(learner.features(encoded))
    batch = learner.collate(features.__getitems__(range(len(features))))
    with torch.inference_mode():
        expected = prepared.sample.expected(module.eval(), batch, units).numpy()
    if len(expected) < len(units):  # nothing is learnt from the others: they have no features
        learnt = units[ROW_ID].isin(encoded[ROW_ID].to_pylist()).to_numpy()
        said = {name: values[learnt] for name, values in said.items()}
    np.testing.assert_allclose(prepared.sample.said(said), expected, atol=prepared.sample.close)


def test_a_row_is_answered_alone_as_among_others(prepared: Prepared) -> None:
    predictor, units = prepared.task.load(prepared.folder / "model"), prepared.units()
    together = predictor.predict(units, prepared.folder / "raw")
    alone = predictor.predict(units.iloc[[3]], prepared.folder / "raw")
    said = prepared.sample.said
    np.testing.assert_allclose(said(alone)[0], said(together)[3], atol=1e-6)
    assert len(predictor.answers(together)) == len(units)


def test_what_is_packed_and_what_is_served_answer_as_the_evaluation_did(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """evaluate's own answers, MLflow's pyfunc in another process, and POST /models/NAME/predict."""
    monkeypatch.setattr(sys, "executable", warm_python())
    evaluate.run(prepared.job)
    metrics = json.loads((prepared.folder / "evaluation" / "metrics.json").read_text())
    assert prepared.task.metrics.keys() <= metrics.keys()
    inputs, expected = _asked(prepared)
    packed = tmp_path / "packed"
    name = prepared.job.settings["task"]
    contents = Contents(
        prepared.folder / "model", name, tuple(inputs.columns), prepared.task.contract.media_sent, inputs, expected
    )
    pack(contents, packed, MlflowModel())
    assert difference(rehearse(packed, inputs, threads=1), expected) is None

    served = Champions(tmp_path, trusting, [], print)
    loaded = Loaded(
        Version("m", "1", "run", "model", 0, {}, ()), load_answerer(packed / MODEL_FILES, packed / ABOUT_FILE)
    )
    served.serving = {"m": Champion(loaded, "2026-11-25T00:00:00.000+00:00")}
    keys = Keys(tmp_path / "keys.yaml", OPERATOR)
    app = make_app(served, Indexes(Root(tmp_path)), updates_by(tmp_path, "true"), Workers(), keys)

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            records = json.loads(inputs.to_json(orient="records"))
            return await client.post("/models/m/predict", json={"inputs": records})

    said = asyncio.run(ask())
    assert said.status_code == 200, said.text
    answers = pd.DataFrame(said.json()["answers"]).to_dict(orient="list")
    assert difference(Trial({}, {str(name): values for name, values in answers.items()}), expected) is None


def test_equal_seeds_begin_equally_and_others_do_not(prepared: Prepared) -> None:
    first, again, other = (torch.cat([p.flatten() for p in prepared.learner(s).module.parameters()]) for s in (7, 7, 8))
    assert torch.equal(first, again)
    assert torch.equal(first, other) != prepared.sample.drawn, "a base's weights are not drawn"


def test_memory_stays_flat(prepared: Prepared) -> None:
    learner = prepared.learner()
    predictor, rows, units = prepared.task.load(prepared.folder / "model"), prepared.rows(), prepared.units()

    def work(rounds: int) -> float:
        for _ in range(rounds):
            learner.turns[0].loss(learner.module, prepared.batch(learner)).backward()
            prepared.task.encode(rows, prepared.at())
            predictor.predict(units, prepared.folder / "raw")
        gc.collect()
        return float(psutil.Process().memory_info().rss)

    before = work(5)
    assert work(15) - before < FLAT_BYTES


def test_baselines_and_metrics_fit_each_other(prepared: Prepared) -> None:
    train_rows, units = read_rows(prepared.folder / "prepared", "train"), prepared.units()
    baselines = prepared.task.baselines(train_rows, units, prepared.at())
    truth = prepared.task.truth(units, prepared.at())
    scores = [whole(prepared.task.score, prepared.task.measure({**said, **truth})) for said in baselines.values()]
    assert len(scores) >= 2
    assert all(each.keys() == prepared.task.metrics.keys() for each in scores)
    sign = 1 if prepared.task.metrics[prepared.task.primary] else -1
    trivial, *others = (sign * each[prepared.task.primary] for each in scores)
    assert min(others) > trivial + 0.2, "the truth can be told from the inputs, so a real baseline sees it"


def test_single_answers_are_told_and_two_models_compared(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every family: of each unit what was said and how wrong it is, and two models on the units of both."""
    task, units, at = prepared.task, prepared.units(), prepared.at()
    truth, axes = task.truth(units, at), task.axes(at.folder)
    baselines = task.baselines(read_rows(prepared.folder / "prepared", "train"), units, at)
    assert isinstance(task, ByRow)
    told = {name: task.by_row({**said, **truth}, axes) for name, said in baselines.items()}
    for each in told.values():
        assert each.error.shape == (len(units),) and (each.error >= 0).all()
        if each.said is not None and each.true is not None:
            pairs = zip(each.said, each.true, strict=True)
            assert [one == two for one, two in pairs] == (each.error == 0).tolist()
    trivial, *others = (each.error.mean() for each in told.values())
    assert min(others) < trivial
    first, second, *_ = (tmp_path / name for name in baselines)
    fewer = 0 if task.metrics.keys() == ranking.METRICS.keys() else 3  # a rank is among all the passages
    for file, kept in ((first, slice(0, None)), (second, slice(fewer, None))):
        true, said = ({k: array[kept] for k, array in arrays.items()} for arrays in (truth, baselines[file.name]))
        answered = Answered(units[ROW_ID].tolist()[kept], true, said, {})
        write_predictions(answered, file, axes=axes, readable={})
    common = common_rows(first, second, "first")
    assert isinstance(common, Common) and len(common.row_ids) == len(units) - fewer
    monkeypatch.setattr(differences, "RESAMPLES", 50)
    found = differences.apart(task, common, primary=task.primary, most=5)
    assert found.metrics[0].name == task.primary
    assert found.rows_apart is not None and len(found.rows_apart.shown) == min(5, found.rows_apart.count) > 0
    assert bool(found.labels) == isinstance(task, ByLabel)
    forest(found, "first", "second", tmp_path / "forest.png")


def test_a_baseline_that_is_the_model_says_what_it_said_as_a_baseline(prepared: Prepared, tmp_path: Path) -> None:
    task, units = prepared.task, prepared.units()
    baselines = task.baselines(read_rows(prepared.folder / "prepared", "train"), units, prepared.at())
    options = prepared.job.section("preprocess", task.Preprocess)
    for name in task.simple:
        folder = tmp_path / name / "prepared"
        (folder / ENCODER).mkdir(parents=True)
        (folder / "rows.parquet").hardlink_to(prepared.folder / "prepared" / "rows.parquet")
        base = Base(Architecture(architecture=name), None, None)
        at = replace(prepared.at(), folder=folder / ENCODER, base=base)
        task.prepare(Rows(folder, "train", 1000), options, at)
        preprocess.encode(task, folder, at, 0)
        learner = task.learner(Model(base=base.reference, method="pretrain"), at)
        assert not isinstance(learner, TorchLearner)
        learner.fit(read_features(folder, "train"), read_features(folder, "validation"))
        model = tmp_path / name / "model"
        model.mkdir()
        task.save(learner, at, into=model)
        assert not list(model.rglob("*.pkl"))
        said = task.load(model).predict(units, prepared.folder / "raw")
        for key, values in baselines[name].items():
            if values.dtype.kind == "f":
                np.testing.assert_allclose(said[key], values, atol=1e-5, err_msg=f"{name}: {key}")
        _, *others = task.baselines(read_rows(prepared.folder / "prepared", "train"), units, at)
        assert name not in others, "it is compared with others than itself; the trivial one always stands there"


def test_it_costs_what_it_may(prepared: Prepared) -> None:
    """The last of a family; `pytest -rP` shows the seconds."""
    print(f"{prepared.job.settings['task']}: {time.process_time() - prepared.began:.1f} s of CPU")
    assert 0 < prepared.steps[0] <= MOST_STEPS


def _asked(prepared: Prepared) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A few inputs as a caller sends them, and what the predictor of the evaluation answers."""
    units, contract = prepared.units()[:ASKED], prepared.job.section("examples", Contract)
    predictor = prepared.task.load(prepared.folder / "model")
    expected = predictor.answers(predictor.predict(units, prepared.folder / "raw"))
    inputs = as_sent(units, contract)
    if contract.file in inputs:
        files = [(prepared.folder / "raw" / path).read_bytes() for path in inputs[contract.file]]
        inputs = inputs.assign(**{str(contract.file): [base64.b64encode(file).decode() for file in files]})
    return inputs, expected


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.rglob("*")) if path.is_file()}
