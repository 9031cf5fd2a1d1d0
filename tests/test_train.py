"""Training a task: equal runs are equal, a rate too high says so, the best epoch stays, nothing lies about."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from core.errors import BadRequest, HeadraceError
from core.schema.model import Architecture, Model, Training
from core.tables.learner import History, TorchLearner
from core.tables.prepared import ENCODER, write_features
from core.tables.task import Base, Task
from core.weights.determinism import steady
from pipelines.tasks import find_task
from pipelines.train.batches import EncodedRows
from pipelines.train.loop import Plan, fit
from pipelines.train.train import train
from tests.conftest import Workspace, film_rows
from tests.places import a_learner, a_place

BERT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
BASE = Base(Architecture(architecture="bert", settings=BERT), None, None)
TRAINING = Training(epochs=2, batch_size=16, learning_rate=2e-3)


@pytest.fixture(autouse=True)
def _steady() -> None:
    steady(threads=1)


@pytest.fixture
def task() -> Task:
    return find_task("text_classification")


@pytest.fixture
def prepared(task: Task, tmp_path: Path) -> Path:
    """160 rows for training, 40 for validation."""
    folder = tmp_path / "prepared"
    encoder = folder / ENCODER
    encoder.mkdir(parents=True)
    rows = pd.DataFrame(film_rows(200)).assign(row_id=[str(row) for row in range(200)])
    options = task.Preprocess.model_validate({"max_tokens": 16, "vocabulary": 300})
    task.prepare([rows[:160]], options, a_place(encoder, base=BASE, media=folder))
    for name, part in (("train", rows[:160]), ("validation", rows[160:])):
        table = task.encode(part.reset_index(drop=True), a_place(encoder, media=folder))
        table = table.add_column(0, "row_id", pa.array(part["row_id"].tolist()))
        write_features(folder, name, table.schema, [table])  # type: ignore[arg-type]
    return folder


def _learner(task: Task, prepared: Path, base: Base = BASE) -> TorchLearner:
    return a_learner(task, Model(base=base.reference, method="pretrain"), a_place(prepared / ENCODER, base=base))


def _train(task: Task, prepared: Path, training: Training = TRAINING) -> tuple[nn.Module, History]:
    learner = _learner(task, prepared)
    return learner.module, train(learner, training, prepared=prepared, listen=lambda step, metrics: None)


def _weights(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.mark.slow
def test_equal_runs_are_equal_and_other_seeds_differ(task: Task, prepared: Path) -> None:
    (first, history), (again, same), (other, _) = (
        _train(task, prepared, TRAINING.model_copy(update={"seed": seed})) for seed in (7, 7, 8)
    )
    assert torch.equal(_weights(first), _weights(again))
    assert history == same
    assert not torch.equal(_weights(first), _weights(other))


def test_history_says_what_happened_and_no_time(task: Task, prepared: Path) -> None:
    heard: list[tuple[int, Mapping[str, float]]] = []
    learner = _learner(task, prepared)
    history = train(learner, TRAINING, prepared=prepared, listen=lambda *line: heard.append(line))
    assert [line["step"] for line in history] == sorted(line["step"] for line in history)
    assert {name for line in history for name in line} == {
        "step", "epoch", "loss", "grad_norm", "learning_rate", "eval_loss", "eval_accuracy"
    }  # fmt: skip
    assert len([line for line in history if "eval_loss" in line]) == 2
    assert history[-1]["step"] == 20
    assert heard == [(line["step"], {k: v for k, v in line.items() if k != "step"}) for line in history]
    json.dumps(history, allow_nan=False)


def test_the_loss_falls_and_validation_is_right(task: Task, prepared: Path) -> None:
    _, history = _train(task, prepared, TRAINING.model_copy(update={"epochs": 6.0}))
    validation = [line for line in history if "eval_loss" in line]
    assert validation[-1]["eval_loss"] < 0.2 < validation[0]["eval_loss"]
    assert validation[-1]["eval_accuracy"] > 0.95


def test_a_rate_too_high_stops_with_its_step(task: Task, prepared: Path) -> None:
    wild = Training(epochs=3, batch_size=16, learning_rate=9.9, warmup=0.0, max_grad_norm=1e30, weight_decay=0.0)
    learner = _learner(task, prepared)
    with torch.no_grad():
        next(learner.module.parameters()).fill_(1e38)
    with pytest.raises(
        HeadraceError, match=r"the loss is (nan|inf) at step 1 of 30 with training.learning_rate 9.9.*Lower"
    ):
        train(learner, wild, prepared=prepared, listen=lambda step, metrics: None)


def test_weights_spoilt_by_the_last_update_are_noticed() -> None:
    """The loss before the last update is fine; nothing but the weights shows what it did."""
    table = pa.table({"x": pa.array([1.0], pa.float32()), "labels": pa.array([0.0], pa.float32())})
    plan = Plan(Training(epochs=1, batch_size=1, learning_rate=1e-3, warmup=0.0))
    with pytest.raises(HeadraceError, match=r"weights slope are no numbers at step 1 of 1 with"):
        fit(TorchLearner(_Root(0.0), _collate), table, table.slice(0, 0), plan)


class _Root(nn.Module):
    """The root of a slope: at 0 its loss is 0 and its gradient infinite."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, x: Tensor, labels: Tensor) -> SimpleNamespace:
        return SimpleNamespace(loss=(torch.sqrt(self.slope * x) - labels).sum())


def _collate(rows: list[dict[str, float]]) -> dict[str, Tensor]:
    return {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}


def test_patience_ends_early_and_keeps_the_best_epoch(task: Task, prepared: Path) -> None:
    """At a rate where validation gets worse again, the weights that stay are those of the lowest loss."""
    overdone = Training(epochs=30, batch_size=4, learning_rate=2e-2, patience=2, schedule="constant", warmup=0.0)
    module, history = _train(task, prepared, overdone)
    losses = [line["eval_loss"] for line in history if "eval_loss" in line]
    best = min(range(len(losses)), key=losses.__getitem__)
    assert len(losses) < 30
    assert len(losses) == best + 3, "two epochs without a better one"
    assert _validation_loss(task, module, prepared) == pytest.approx(losses[best], rel=1e-4)
    assert losses[best] < losses[-1]


def _validation_loss(task: Task, module: nn.Module, prepared: Path) -> float:
    table = pa.ipc.open_file(pa.memory_map(str(prepared / "validation.arrow"))).read_all()
    batch = _learner(task, prepared).collate(EncodedRows(table).__getitems__(range(len(table))))
    with torch.inference_mode():
        return float(module.eval()(**batch).loss)


def test_patience_without_validation_rows_is_refused(task: Task, prepared: Path) -> None:
    table = pa.ipc.open_file(pa.memory_map(str(prepared / "validation.arrow"))).read_all()
    write_features(prepared, "validation", table.schema, [])
    with pytest.raises(BadRequest, match=r"training.patience needs validation rows"):
        _train(task, prepared, TRAINING.model_copy(update={"patience": 1}))
    _, history = _train(task, prepared, TRAINING.model_copy(update={"epochs": 1.0}))
    assert not any("eval_loss" in line for line in history)


def test_batches_hold_rows_of_like_length(task: Task) -> None:
    random = np.random.default_rng(2)
    lengths = random.integers(3, 60, 600)
    tokens = [[5] * int(length) for length in lengths]
    table = pa.table(
        {"input_ids": pa.array(tokens, pa.list_(pa.int32())), "length": lengths, "labels": random.integers(0, 2, 600)}
    )
    seen: list[tuple[int, int]] = []
    plan = Plan(Training(epochs=1, batch_size=16, learning_rate=1e-3))

    def collate(rows: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        seen.append((longest * len(rows), sum(len(row["input_ids"]) for row in rows)))
        return {"x": torch.ones(1), "labels": torch.zeros(1)}

    fit(TorchLearner(_Root(3.0), collate), table, table.slice(0, 0), plan)
    padded, real = (sum(column) for column in zip(*seen, strict=True))
    assert real == lengths.sum(), "every row once"
    assert padded < 1.15 * real, "in random batches of 16, nearly half would be padding"


def test_rows_come_as_they_were_stored() -> None:
    table = pa.table(
        {
            "row_id": ["a", "b", "c"],
            "length": [1, 0, 2],
            "ids": pa.array([[1], [], [2, 3]], pa.list_(pa.int32())),
            "pixels": pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.uint8(), 2)),
            "labels": [0.5, 1.5, 2.5],
        }
    )
    rows = EncodedRows(pa.concat_tables([table.slice(0, 2), table.slice(2)]))
    assert (len(rows), rows.lengths) == (3, [1, 0, 2])
    last, first, middle = rows.__getitems__([2, 0, 1])
    assert (last["ids"].tolist(), first["ids"].tolist(), middle["ids"].tolist()) == ([2, 3], [1], [])
    assert (last["pixels"].tolist(), last["labels"]) == ([5, 6], 2.5)
    assert rows[1].keys() == {"ids", "pixels", "labels"}


@pytest.mark.slow
def test_accumulated_batches_are_one_large_batch(task: Task, prepared: Path) -> None:
    """Up to the order of additions: 4 batches of 4 move the weights as one of 16 (without dropout)."""
    settings = {**BERT, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    base = Base(Architecture(architecture="bert", settings=settings), None, None)
    moved = []
    for batch_size, accumulate in ((16, 1), (4, 4)):
        learner = _learner(task, prepared, base)
        learner.module.head[2].p = 0.0  # type: ignore[index, union-attr]
        training = Training(epochs=1, batch_size=batch_size, accumulate=accumulate, learning_rate=1e-3)
        history = train(learner, training, prepared=prepared, listen=lambda step, metrics: None)
        assert history[-1]["step"] == 10
        moved.append(_weights(learner.module))
    first = _weights(_learner(task, prepared).module)
    assert (moved[0] - moved[1]).abs().mean() < 0.1 * (moved[0] - first).abs().mean()


def test_nothing_is_left_where_it_ran(
    task: Task, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    _train(task, prepared, TRAINING.model_copy(update={"epochs": 1.0, "patience": 1}))
    assert list((tmp_path / "here").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "prepared"]


@pytest.mark.slow
def test_the_stage_twice_writes_equal_bytes(tiny: Workspace) -> None:
    for stage in ("settings", "collect", "validate", "preprocess", "train"):
        done = tiny.stage(stage, "tiny")
        assert done.returncode == 0, done.stderr
    first = tiny.hashes("data/models/tiny/model")
    assert {
        "config.json",
        "model.safetensors",
        "history.json",
        "labels.json",
        "manifest.json",
        "tokenizer.json",
    } <= first.keys()
    assert tiny.stage("train", "tiny").returncode == 0
    assert tiny.hashes("data/models/tiny/model") == first
    text = "".join(
        path.read_text() for path in tiny.path("data/models/tiny/model").glob("*.json") if path.name != "tokenizer.json"
    )
    assert str(tiny.root) not in text
    assert not math.isnan(json.loads(tiny.path("data/models/tiny/model/history.json").read_text())[-1]["eval_loss"])
