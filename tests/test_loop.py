"""The loop's settings on networks of some hundred weights: each does what it says, and leaves alone what it must."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, ResNetConfig, ResNetModel
from transformers.models.bert.modeling_bert import BertIntermediate
from transformers.trainer_pt_utils import get_parameter_names

from core.errors import BadRequest
from core.schema.model import Training
from core.tables.learner import History, TorchLearner
from core.weights.determinism import steady
from pipelines.train.loop import Plan, fit
from pipelines.train.optimizers import decay_groups

ROWS, WIDTH = 61, 6
TRAINING = Training(epochs=2, batch_size=8, learning_rate=1e-2)
BERT = BertConfig(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, vocab_size=40,
    max_position_embeddings=16,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _steady() -> None:
    steady(threads=1)


class Net(nn.Module):
    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(WIDTH, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 2))

    def forward(self, x: Tensor, labels: Tensor) -> SimpleNamespace:
        logits = self.layers(x)
        return SimpleNamespace(loss=nn.functional.cross_entropy(logits, labels), logits=logits)


def table(seed: int, rows: int = ROWS) -> pa.Table:
    x = np.random.default_rng(seed).standard_normal((rows, WIDTH)).astype("float32")
    return pa.table({"x": pa.array(list(x)), "labels": pa.array((x[:, 0] > 0).astype("int64"))})


def net(dropout: float = 0.3) -> TorchLearner:
    torch.manual_seed(3)
    return TorchLearner(Net(dropout), torch.utils.data.default_collate)


def bert() -> TorchLearner:
    """A text network with dropout in every layer."""
    torch.manual_seed(3)
    return TorchLearner(BertForSequenceClassification(BERT), torch.utils.data.default_collate)


def texts() -> pa.Table:
    ids = np.random.default_rng(1).integers(0, 40, (24, 12))
    return pa.table({"input_ids": pa.array(list(ids)), "labels": pa.array(ids[:, 0] % 2)})


def trained(learner: TorchLearner, rows: pa.Table | None = None, **settings: object) -> tuple[Tensor, History]:
    """The weights after training, and its history; without validation."""
    rows = table(1) if rows is None else rows
    history = fit(learner, rows, rows.slice(0, 0), Plan(TRAINING.model_copy(update=settings)))
    return torch.cat([parameter.detach().flatten() for parameter in learner.module.parameters()]), history


def test_accumulated_batches_move_the_weights_as_one_large_batch() -> None:
    """Up to the order of additions, for a loss that is a mean, where the batches are full."""
    rows = table(1, rows=64)
    whole, _ = trained(net(0.0), rows, batch_size=16)
    parts, history = trained(net(0.0), rows, batch_size=4, accumulate=4)
    assert history[-1]["step"] == 8
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-4)


def test_bf16_differs_a_little_and_leaves_no_trace() -> None:
    """Weights stay in float32, and a training after it computes as one before it."""
    before, _ = trained(net())
    rounded, _ = trained(net(), precision="bf16")
    after, _ = trained(net())
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - before).abs().max() < 0.02
    assert torch.equal(before, after)


def test_fp16_without_a_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadRequest, match=r"training.precision: fp16 needs a GPU.*Allowed here: float32, bf16"):
        trained(net(), precision="fp16")


def test_one_of_several_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    with pytest.raises(BadRequest, match=r"trains in one process, and here are 2"):
        trained(net())


def test_gradient_checkpointing_gives_equal_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout is drawn again as it was, and every layer is computed twice."""
    calls = 0
    real = BertIntermediate.forward

    @functools.wraps(real)
    def counted(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        return real(*arguments, **options)

    monkeypatch.setattr(BertIntermediate, "forward", counted)
    kept, _ = trained(bert(), texts())
    once, calls = calls, 0
    again, _ = trained(bert(), texts(), gradient_checkpointing=True)
    assert torch.equal(again, kept)
    assert calls == 2 * once > 0


def test_gradient_checkpointing_where_no_part_can_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"training.gradient_checkpointing: no part of Net can"):
        trained(net(), gradient_checkpointing=True)


def test_a_compiled_module_is_called_and_the_plain_one_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend only traces, so the weights are those of the plain module, under its names."""
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    torch._dynamo.reset()
    plain, _ = trained(net())
    learner = net()
    compiled, _ = trained(learner, compile=True)
    assert torch.equal(compiled, plain)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert list(learner.module.state_dict()) == list(net().module.state_dict())


def test_sums_over_batches_are_the_whole() -> None:
    """61 rows in batches of 16: the last counts for what it holds, not for a batch."""
    learner = net()
    learner.watch = lambda outputs, batch: {"accuracy": (outputs.logits.argmax(dim=-1) == batch["labels"]).sum()}
    line = fit(learner, table(1), table(2), Plan(TRAINING))[-1]
    rows = table(2).to_pydict()
    with torch.no_grad():
        outputs = learner.module.eval()(torch.tensor(rows["x"]), torch.tensor(rows["labels"]))
    right = outputs.logits.argmax(dim=-1) == torch.tensor(rows["labels"])
    assert line["eval_loss"] == pytest.approx(float(outputs.loss), rel=1e-6)
    assert line["eval_accuracy"] == pytest.approx(float(right.double().mean()), rel=1e-12)


def test_the_last_epoch_may_be_a_part_of_one() -> None:
    """61 rows are 8 batches, 4 updates: one epoch and a half is 6 of them, and validation sees the end of both."""
    history = fit(net(), table(1), table(2), Plan(TRAINING.model_copy(update={"epochs": 1.5, "accumulate": 2})))
    assert [(line["step"], line["epoch"]) for line in history if "eval_loss" in line] == [(4, 1.0), (6, 1.5)]


@pytest.mark.parametrize("kind", ["bert", "resnet"])
def test_what_decays_is_what_decays_in_transformers(kind: str) -> None:
    module = bert().module if kind == "bert" else ResNetModel(ResNetConfig(hidden_sizes=[8], depths=[1]))
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    decayed, kept = decay_groups(module, list(module.parameters()), 0.1)
    patterns = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
    assert {names[id(parameter)] for parameter in decayed["params"]} == set(
        get_parameter_names(module, [nn.LayerNorm], patterns)
    )
    assert len(decayed["params"]) + len(kept["params"]) == len(names)
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
