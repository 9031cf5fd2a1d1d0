"""Two optimizers, moving averages and learners that fit themselves; a training cut short goes on to equal weights."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from core.schema.model import Training
from core.tables.learner import History, Row, TorchLearner, Turn
from core.tables.prepared import write_features
from core.weights.determinism import steady
from pipelines.train import loop
from pipelines.train.checkpoints import Checkpoints
from pipelines.train.history import Listener
from pipelines.train.train import train

TRAINING = Training(
    epochs=3, batch_size=4, accumulate=2, learning_rate=1e-2, schedule="cosine", patience=3, average=0.8, seed=3
)
ROWS, WIDTH = 42, 3
UPDATES = 6  # of an epoch: 11 batches
CUT_AT = 9  # in the middle of the second epoch


class PowerCutError(Exception):
    """What ends a training here."""


class Pair(nn.Module):
    """A maker of points and a judge of them, both with dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.maker = nn.Sequential(nn.Linear(WIDTH, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, WIDTH))
        self.judge = nn.Sequential(nn.Linear(WIDTH, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 1))


def _judged(module: Any, batch: Mapping[str, Tensor]) -> Tensor:
    real, made = module.judge(batch["x"]), module.judge(module.maker(batch["noise"]))
    return nn.functional.softplus(-real).mean() + nn.functional.softplus(made).mean()


def _made(module: Any, batch: Mapping[str, Tensor]) -> Tensor:
    return nn.functional.softplus(-module.judge(module.maker(batch["noise"]))).mean()


def _collate(rows: list[Row]) -> dict[str, Tensor]:
    """Each batch with noise of its own, which a training that goes on must draw as it would have been."""
    x = torch.tensor(np.array([row["x"] for row in rows]), dtype=torch.float32)
    return {"x": x, "noise": torch.randn(len(rows), WIDTH)}


def pair() -> TorchLearner:
    torch.manual_seed(1)
    judge = Turn(_judged, lambda module: module.judge.parameters(), betas=(0.5, 0.9), rate=2.0, name="judge")  # type: ignore[union-attr]
    maker = Turn(_made, lambda module: module.maker.parameters(), betas=(0.5, 0.9), name="maker")  # type: ignore[union-attr]
    return TorchLearner(Pair(), _collate, turns=(judge, maker), sample=_sample)


@torch.no_grad()
def _sample(module: Any) -> Tensor:
    made: Tensor = module.maker(torch.ones(1, WIDTH))
    return made


def table(seed: int) -> pa.Table:
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((ROWS, WIDTH)).astype("float32")
    return pa.table({"x": pa.array(list(x)), "length": draw.integers(1, 9, ROWS)})


def sha256(module: nn.Module) -> str:
    return hashlib.sha256(b"".join(value.numpy().tobytes() for value in module.state_dict().values())).hexdigest()


def fitted(
    checkpoints: Checkpoints | None = None, listen: Listener = lambda step, metrics: None
) -> tuple[str, History, list[tuple[int, list[float]]]]:
    """What stands in the end: the weights' hash, the history, the samples by step."""
    steady(threads=1)
    learner = pair()
    history = loop.fit(learner, table(1), table(2), loop.Plan(TRAINING, checkpoints), listen=listen)
    samples = [(step, sample.flatten().tolist()) for step, sample in learner.samples.items()]
    return sha256(learner.module), history, samples


def test_two_turns_and_an_average_go_on_to_equal_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut in the middle of an epoch, with batches by length, noise in the batches and early stopping on."""
    right = fitted()
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)

    def cut(step: int, metrics: Mapping[str, float]) -> None:
        if step == CUT_AT:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        fitted(Checkpoints(tmp_path / "cut"), cut)
    newest = Checkpoints(tmp_path / "cut").newest()
    assert newest is not None
    assert UPDATES < newest.step == CUT_AT - 1 < 2 * UPDATES
    heard: list[dict[str, float]] = []
    found = fitted(Checkpoints(tmp_path / "cut"), lambda step, metrics: heard.append({"step": step, **metrics}))
    assert found == right
    assert heard == right[1], "what was before the cut is said again"


@pytest.mark.parametrize(("epochs", "steps"), [(3.0, [6, 12, 18]), (20.0, [12, 30, 42, 60, 72, 90, 102, 120])])
def test_samples_are_of_up_to_eight_epochs_and_of_averaged_weights(epochs: float, steps: list[int]) -> None:
    steady(threads=1)
    learner, settings = pair(), TRAINING.model_copy(update={"epochs": epochs, "patience": None})
    loop.fit(learner, table(1), table(2), loop.Plan(settings))
    assert list(learner.samples) == steps
    assert torch.equal(learner.samples[steps[-1]], _sample(learner.module.eval()))


def test_the_history_tells_the_turns_apart() -> None:
    line = fitted()[1][0]
    assert line["loss"] == pytest.approx(line["judge_loss"] + line["maker_loss"])
    assert line["judge_learning_rate"] == 2 * line["maker_learning_rate"]
    assert line.keys() >= {"judge_grad_norm", "maker_grad_norm", "epoch"}


def test_a_turns_gradients_reach_no_others_parameters() -> None:
    """The judge's own turn gives it no gradient; what the maker's loss gave it would move it."""
    learner = pair()
    judge, maker = learner.turns
    idle = Turn(lambda module, batch: 0 * _judged(module, batch), judge.parameters)
    learner.turns = (maker, idle)
    before = [value.clone() for value in learner.module.judge.parameters()]  # type: ignore[union-attr]
    settings = TRAINING.model_copy(update={"average": None, "weight_decay": 0.0})
    made = sha256(learner.module.maker)  # type: ignore[arg-type]
    loop.fit(learner, table(1), table(2).slice(0, 0), loop.Plan(settings.model_copy(update={"patience": None})))
    after = list(learner.module.judge.parameters())  # type: ignore[union-attr]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert sha256(learner.module.maker) != made  # type: ignore[arg-type]


def test_the_average_is_what_a_hand_computes() -> None:
    """The module holds its own weights while it learns, and in the end their average."""
    learner = pair()

    def weights() -> np.ndarray[Any, Any]:
        return np.concatenate([value.detach().double().numpy().ravel() for value in learner.module.parameters()])

    average, own = weights(), [weights()]
    settings = TRAINING.model_copy(update={"patience": None, "epochs": 2.0})
    loop.fit(
        learner, table(1), table(2).slice(0, 0), loop.Plan(settings), listen=lambda step, line: own.append(weights())
    )  # fmt: skip
    assert len(own) == 2 * UPDATES + 1
    for step in range(1, len(own)):
        decay = min(0.8, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * own[step]
    np.testing.assert_allclose(weights(), average, atol=1e-6)
    assert np.abs(own[-1] - average).max() > 1e-3


def test_validation_sees_the_average(monkeypatch: pytest.MonkeyPatch) -> None:
    """And training goes on with its own weights: they are those of a training without an average."""
    lines, own = [], []
    for average in (0.8, None):
        learner = pair()
        settings = TRAINING.model_copy(update={"average": average, "patience": None})
        history = loop.fit(
            learner, table(1), table(2), loop.Plan(settings),
            listen=lambda step, line, learner=learner: own.append(sha256(learner.module)) if step % UPDATES else None,  # type: ignore[misc]
        )  # fmt: skip
        lines.append([line["eval_loss"] for line in history if "eval_loss" in line])
    assert own[: len(own) // 2] == own[len(own) // 2 :]
    assert all(averaged != plain for averaged, plain in zip(*lines, strict=True))


class Mean:
    """A learner that fits itself."""

    def fit(self, train: pa.Table, validation: pa.Table) -> History:
        self.mean = float(np.mean(train["y"].to_numpy()))
        return [{"step": 1, "eval_loss": float(np.mean((validation["y"].to_numpy() - self.mean) ** 2))}]


def test_a_learner_that_fits_itself_is_heard_too(tmp_path: Path) -> None:
    for name, values in (("train", [1.0, 2.0, 3.0]), ("validation", [4.0])):
        rows = pa.table({"y": values})
        write_features(tmp_path, name, rows.schema, [rows])  # type: ignore[arg-type]
    heard: list[tuple[int, Mapping[str, float]]] = []
    learner = Mean()
    history = train(learner, Training(), prepared=tmp_path, listen=lambda *line: heard.append(line))
    assert learner.mean == 2.0
    assert history == [{"step": 1, "eval_loss": 4.0}]
    assert heard == [(1, {"eval_loss": 4.0})]
