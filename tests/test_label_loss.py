"""Class weights, label smoothing and the L1 penalty: against scikit-learn's weights, torch's losses, and by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from accelerate import Accelerator
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional

from core.errors import BadRequest
from core.schema.data import SplitName
from core.schema.model import Training
from core.tables.learner import TorchLearner, Turn
from core.tables.prepared import write_features
from pipelines.tasks.parts.answers.label_loss import balanced, label_loss, with_label_loss
from pipelines.tasks.parts.linear import tfidf_learner
from pipelines.train.optimizers import TurnOptimizer
from pipelines.train.train import train


class Saying(nn.Module):
    """Says the same logits whatever it is asked."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, labels: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits, loss=functional.cross_entropy(self.logits, labels))


def test_balanced_weights_are_scikit_learns() -> None:
    numbers = np.array([0, 0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=numbers)
    np.testing.assert_allclose(balanced(pa.table({"labels": numbers})), expected, rtol=1e-6)
    tokens = pa.table({"labels": pa.array([[0, 0, -100], [0, 0, 1, -100], [2, 2]], pa.list_(pa.int32()))})
    np.testing.assert_allclose(balanced(tokens), expected, rtol=1e-6)


def test_marks_weigh_by_the_rows_that_lack_them() -> None:
    marks = pa.FixedSizeListArray.from_arrays(pa.array([1, 0, 0, 0, 1, 0, 0, 0], pa.int8()), 2)
    assert balanced(pa.table({"labels": marks})).tolist() == [1.0, 1.0]
    some = pa.FixedSizeListArray.from_arrays(pa.array([1, 0, 0, 1, 0, 1, 0, 1], pa.int8()), 2)
    assert balanced(pa.table({"labels": some})).tolist() == [3.0, pytest.approx(1 / 3)]


def test_losses_are_torchs() -> None:
    """Of a number each; of tokens, -100 left out; of marks. Labels that no training row has weigh 1."""
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    found = label_loss(Saying(logits), {"labels": labels}, weights=torch.tensor([1.0, 3.0]), smoothing=0.1)
    torch.testing.assert_close(
        found, functional.cross_entropy(logits, labels, weight=torch.tensor([1.0, 3.0, 1.0]), label_smoothing=0.1)
    )
    tokens = torch.tensor([[0, 2, -100], [1, -100, -100]])
    said = torch.randn(2, 3, 3)

    class Tagging(Saying):
        def forward(self, labels: Tensor) -> SimpleNamespace:
            return SimpleNamespace(logits=self.logits)

    found = label_loss(Tagging(said), {"labels": tokens}, weights=None, smoothing=0.2)
    kept = tokens.flatten() >= 0
    torch.testing.assert_close(
        found, functional.cross_entropy(said.flatten(0, 1)[kept], tokens.flatten()[kept], label_smoothing=0.2)
    )
    marks = torch.tensor([[1, 0, 1]] * 5)
    found = label_loss(Tagging(logits), {"labels": marks}, weights=torch.tensor([1.0, 2.0, 3.0]), smoothing=0.2)
    torch.testing.assert_close(
        found,
        functional.binary_cross_entropy_with_logits(
            logits, marks * 0.8 + 0.1, pos_weight=torch.tensor([1.0, 2.0, 3.0])
        ),
    )
    nothing = label_loss(Tagging(said), {"labels": torch.full((2, 3), -100)}, weights=None, smoothing=0.2)
    assert nothing.item() == 0.0 and nothing.requires_grad


@pytest.mark.parametrize("asked", [{"class_weights": "balanced"}, {"label_smoothing": 0.1}])
def test_what_learns_no_labels_refuses(asked: dict[str, object]) -> None:
    learner = TorchLearner(Saying(torch.zeros(2, 2)), lambda rows: {})
    rows = pa.table({"labels": [0, 1]})
    assert with_label_loss(learner, Training(), rows) is learner
    with pytest.raises(BadRequest, match=f"training.{next(iter(asked))}: this model does not learn labels"):
        with_label_loss(learner, Training.model_validate(asked), rows)


@pytest.mark.parametrize("asked", [{"class_weights": "balanced"}, {"label_smoothing": 0.1}, {"l1": 0.1}])
def test_what_is_fitted_in_one_go_refuses(asked: dict[str, object], tmp_path: Path) -> None:
    rows = pa.table({"text": ["a", "b"], "labels": [0, 1]})
    splits: tuple[SplitName, ...] = ("train", "validation")
    for split in splits:
        write_features(tmp_path, split, rows.schema, [rows])
    with pytest.raises(BadRequest, match=f"training.{next(iter(asked))}: this model is fitted in one go"):
        train(tfidf_learner(2), Training.model_validate(asked), prepared=tmp_path, listen=lambda step, metrics: None)


def test_l1_adds_the_sign_of_weights_and_leaves_biases_alone() -> None:
    module = nn.Linear(3, 2)
    loss: Callable[[nn.Module, object], Tensor] = lambda module, _: module(torch.ones(1, 3)).sum()  # noqa: E731
    seen: list[list[Tensor]] = []

    def look(*_: object) -> None:
        seen.append([each.grad.clone() for each in module.parameters() if each.grad is not None])

    for l1 in (0.0, 0.5):
        training = Training(l1=l1, max_grad_norm=1e9, learning_rate=1e-9)
        optimizer = TurnOptimizer(Turn(loss=loss), module, Accelerator(), training, steps=1)
        optimizer.optimizer.optimizer.register_step_pre_hook(look)
        optimizer.gradients(module, [{}])
        optimizer.step()
    (weight, bias), (penalised, same) = seen
    torch.testing.assert_close(penalised, weight + 0.5 * module.weight.sign())
    torch.testing.assert_close(same, bias)
