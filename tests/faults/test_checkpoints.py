"""Damaged checkpoints: every one is passed over with a word, and the training still ends with the right weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from core.schema.model import Training
from core.tables.learner import TorchLearner
from core.weights.determinism import steady
from pipelines.train import loop
from pipelines.train.checkpoints import Checkpoints
from pipelines.train.history import Listener

TRAINING = Training(
    epochs=2, batch_size=8, accumulate=2, learning_rate=1e-2, warmup=0.1, schedule="cosine", patience=3, seed=3
)
ROWS, WIDTH = 64, 6
STOPS_AFTER = 7  # of 8 updates
FILES = ("best", "manifest", "optimizer", "random", "state", "weights")


class PowerCutError(Exception):
    """What ends a training here; the kills that are real are in trainings.py."""


class Net(nn.Module):
    """Two layers with dropout, so that the random state matters."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(WIDTH, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2))

    def forward(self, x: Tensor, labels: Tensor) -> SimpleNamespace:
        return SimpleNamespace(loss=nn.functional.cross_entropy(self.layers(x), labels))


def table(seed: int) -> pa.Table:
    x = np.random.default_rng(seed).standard_normal((ROWS, WIDTH)).astype("float32")
    return pa.table({"x": pa.array(list(x)), "labels": pa.array((x[:, 0] > 0).astype("int64"))})


def weights_after(checkpoints: Checkpoints, listen: Listener = lambda step, metrics: None) -> Tensor:
    steady(threads=1)
    torch.manual_seed(TRAINING.seed)
    module = Net()
    learner = TorchLearner(module, torch.utils.data.default_collate)
    loop.fit(learner, table(1), table(2), loop.Plan(TRAINING, checkpoints), listen=listen)
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    """The checkpoints of a training cut short near its end, and the weights of an undisturbed one."""
    folder = tmp_path_factory.mktemp("interrupted")

    def cut(step: int, metrics: Mapping[str, float]) -> None:
        if step == STOPS_AFTER:
            raise PowerCutError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_EVERY_S", 0.0)
        right = weights_after(Checkpoints(folder / "whole"))
        with pytest.raises(PowerCutError):
            weights_after(Checkpoints(folder / "cut"), cut)
    assert sorted(path.name for path in (folder / "cut").iterdir()) == ["step-00000005", "step-00000006"]
    assert sorted(path.stem for path in (folder / "cut/step-00000006").iterdir()) == sorted(FILES)
    shutil.copytree(folder / "cut/step-00000005", folder / "before/step-00000005")
    return folder / "cut", right


def truncated(tenth: int) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size * tenth // 10])


def zeroed(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {f"cut at {tenth}/10": truncated(tenth) for tenth in range(10)}
DAMAGES |= {"zeroed": zeroed, "a flipped bit": flipped, "removed": Path.unlink}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_newest_checkpoint_is_passed_over(
    interrupted: tuple[Path, Tensor], file: str, damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And what the one before it says is read in its place, every byte of it."""
    whole = Checkpoints(interrupted[0].with_name("before")).newest()
    found = damaged(interrupted[0], file, damage, tmp_path).newest()
    assert found is not None and whole is not None
    assert (found.step, found.state, found.tensors.keys()) == (5, whole.state, whole.tensors.keys())
    for name, tensors in whole.tensors.items():
        assert all(torch.equal(found.tensors[name][key], tensor) for key, tensor in tensors.items())
    assert "step-00000006 is passed over: " in capsys.readouterr().err


@pytest.mark.parametrize("file", FILES)
def test_a_training_goes_on_from_the_one_before(
    interrupted: tuple[Path, Tensor], file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = damaged(interrupted[0], file, "a flipped bit", tmp_path)
    assert torch.equal(weights_after(checkpoints), interrupted[1])
    assert "going on after step 5 of 8" in capsys.readouterr().err


def damaged(cut: Path, file: str, damage: str, into: Path) -> Checkpoints:
    """A copy of the checkpoints in which a file of the newest one is damaged."""
    shutil.copytree(cut, into / "checkpoints")
    [path] = (into / "checkpoints/step-00000006").glob(f"{file}.*")
    DAMAGES[damage](path)
    return Checkpoints(into / "checkpoints")


def test_with_every_checkpoint_damaged_it_starts_over(
    interrupted: tuple[Path, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut, right = interrupted
    shutil.copytree(cut, tmp_path / "checkpoints")
    for place in (tmp_path / "checkpoints").iterdir():
        zeroed(place / "weights.safetensors")
    assert torch.equal(weights_after(Checkpoints(tmp_path / "checkpoints")), right)
    said = capsys.readouterr().err
    assert said.count("is passed over") == 2
    assert "going on" not in said


def test_a_whole_one_is_gone_on_from(
    interrupted: tuple[Path, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut, right = interrupted
    shutil.copytree(cut, tmp_path / "checkpoints")
    assert torch.equal(weights_after(Checkpoints(tmp_path / "checkpoints")), right)
    assert "going on after step 6 of 8" in capsys.readouterr().err
