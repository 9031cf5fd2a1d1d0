"""What cannot fit into memory is refused before its first step, with what would; what is looked at stays as it was."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from core.errors import BadRequest
from core.process.memory import free_bytes, limit_bytes, resident_bytes
from core.schema.model import Architecture, Model, Training
from core.tables.learner import TorchLearner
from core.tables.task import Base, Place
from pipelines.tasks import find_task
from pipelines.train.batches import EncodedRows
from pipelines.train.headroom import require_step, require_weights, weights_bytes
from pipelines.train.loop import Plan, fit

WIDTH, ROWS = 8, 4096
HIDDEN = 1 << 18  # values a row: 1 MB


class Wide(nn.Module):
    """Keeps a row's hidden values, and what ReLU made of them, for the gradients; its batch norm moves in a pass."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(WIDTH, hidden), nn.BatchNorm1d(WIDTH), nn.Linear(hidden, 2)

    def forward(self, x: Tensor, labels: Tensor) -> SimpleNamespace:
        logits = self.last(nn.functional.dropout(torch.relu(self.first(self.norm(x))), 0.5, self.training))
        return SimpleNamespace(loss=nn.functional.cross_entropy(logits, labels), logits=logits)


def learner(hidden: int = HIDDEN) -> TorchLearner:
    torch.manual_seed(3)
    return TorchLearner(Wide(hidden), torch.utils.data.default_collate)


def rows() -> pa.Table:
    x = np.random.default_rng(1).standard_normal((ROWS, WIDTH)).astype("float32")
    return pa.table({"x": pa.array(list(x)), "labels": pa.array((x[:, 0] > 0).astype("int64"))})


def require(learner: TorchLearner, limit: int, **settings: object) -> None:
    training = Training(batch_size=ROWS).model_copy(update=settings)
    require_step(
        learner, EncodedRows(rows()), training, method="full", methods=("full", "lora", "transfer"), limit=limit
    )


def test_a_step_that_cannot_fit_is_refused_with_the_batch_that_can() -> None:
    """Three arrays of HIDDEN a row at least: 3 MB; by hand, the optimizer's three numbers for each weight."""
    made = learner()
    weights = sum(each.numel() for each in made.module.parameters())
    there = resident_bytes() + 3 * 4 * weights
    require(made, there + 2 * ROWS * (3 << 20))
    with pytest.raises(BadRequest, match=r"batch_size: \d+ with training.accumulate.*model.method: lora or transfer"):
        require(made, int(1.25 * there))
    with pytest.raises(
        BadRequest, match=r"^training cannot fit: a step of 4,096 rows takes at least [\d.]+ GB"
    ) as told:
        require(made, there - (64 << 20))
    assert "batch_size" not in str(told.value), "no batch fits"
    assert "--force train" in str(told.value)


def test_averages_and_the_best_epoch_count() -> None:
    made = learner()
    weights = sum(each.numel() for each in made.module.parameters())
    limit = resident_bytes() + 100 * 4 * weights
    with pytest.raises(BadRequest, match="cannot fit"):
        require_step(
            made, EncodedRows(rows().slice(0, 3)), Training(average=0.9, patience=2), method="pretrain",
            methods=("pretrain",), limit=resident_bytes() + 4 * 4 * weights - (8 << 20),
        )  # fmt: skip
    require(made, limit, average=0.9, patience=2, batch_size=1)


def test_looking_leaves_the_training_as_it_was() -> None:
    """The same weights, to the bit, with the look and without."""
    trained = []
    for fits in (None, partial(require_step, method="full", methods=("full",))):
        made = learner(64)
        training = Training(epochs=1, batch_size=16)
        plan = Plan(training) if fits is None else Plan(training, None, fits)
        fit(made, rows().slice(0, 64), rows().slice(0, 0), plan)
        trained.append([value.clone() for value in made.module.state_dict().values()])
    assert all(torch.equal(one, other) for one, other in zip(*trained, strict=True))


def test_weights_too_many_to_be_built_are_counted_without_memory(tmp_path: Path) -> None:
    """The count of a BERT by hand, its vocabulary left out: 12 h h and 13 h a layer; 200 billion take no time."""
    task = find_task("text_classification")
    text_of, width, layers = pd.DataFrame({"text": ["a b", "c d"], "label": ["x", "y"]}), 16384, 64
    settings = {
        "hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 64, "intermediate_size": 4 * width,
    }  # fmt: skip
    model = Model(base=Architecture(architecture="bert", settings=settings), method="pretrain")
    at = Place(tmp_path, tmp_path, tmp_path, Base(model.base, None, None), 7)
    task.prepare([text_of], task.Preprocess(), at)
    by_hand = layers * (12 * width**2 + 13 * width) * 4
    state = torch.get_rng_state()
    assert weights_bytes(task, model, at) == pytest.approx(by_hand, rel=0.01)
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(BadRequest, match=r"^training cannot fit: to train 20\d,\d+ million weights .* a smaller"):
        require_weights(task, model, at)


def test_a_base_is_measured_by_its_files(tmp_path: Path) -> None:
    """What trains every weight needs four numbers for each; adapters on the same base fit."""
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    at = Place(tmp_path, tmp_path, tmp_path, Base("base", tmp_path, "0"), 7)
    task = find_task("text_classification")
    require_weights(task, Model(base="base", method="full"), at, limit=4000)
    require_weights(task, Model(base="base", method="lora"), at, limit=1000)
    with pytest.raises(BadRequest, match=r"model.method: lora or transfer; a smaller model.base"):
        require_weights(task, Model(base="base", method="full"), at, limit=3999)


@pytest.mark.parametrize(
    ("files", "own"),
    [
        ({"a/memory.max": "3000", "a/memory.current": "1000", "a/memory.stat": "inactive_file 500"}, "0::/a/b"),
        (
            {
                "memory/a/memory.limit_in_bytes": "3000", "memory/a/memory.usage_in_bytes": "1000",
                "memory/a/memory.stat": "total_inactive_file 500", "memory/a/b/memory.limit_in_bytes": "9" * 18,
                "memory/a/b/memory.usage_in_bytes": "1000",
            },
            "4:memory:/a/b",
        ),
    ],
    ids=["v2", "v1"],
)  # fmt: skip
def test_a_control_group_above_counts(tmp_path: Path, files: dict[str, str], own: str) -> None:
    """The smallest limit on the way up, and what is left of it with the cache that it would give back."""
    for name, text in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    (tmp_path / "own").write_text(f"{own}\n")
    assert limit_bytes(tmp_path / "groups", tmp_path / "own") == 3000
    assert free_bytes(tmp_path / "groups", tmp_path / "own") == 2500
    assert limit_bytes(tmp_path, tmp_path / "none") > 1 << 30, "no group: the machine's"
