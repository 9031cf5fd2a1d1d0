"""Pictures of every kind become tensors; networks new and pretrained; what does not fit is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from core.atomic_files import read_json
from core.errors import BadRequest
from core.schema.model import Architecture, Model
from core.tables.task import Base, Task
from pipelines.tasks import find_task
from pipelines.train.batches import EncodedRows
from tests.places import a_learner, a_place, learnt

RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}


@pytest.fixture
def task() -> Task:
    return find_task("image_classification")


@pytest.fixture
def gray(tmp_path: Path) -> pd.DataFrame:
    """24 grayscale pictures of 10 x 12 pixels."""
    random = np.random.default_rng(4)
    return _written(tmp_path, [Image.fromarray(random.integers(0, 255, (12, 10), dtype=np.uint8)) for _ in range(24)])


def _written(media: Path, pictures: list[Image.Image]) -> pd.DataFrame:
    """The rows that `collect` would make of the pictures, which go to media/NUMBER.png."""
    rows = []
    for number, picture in enumerate(pictures):
        picture.save(media / f"{number}.png")
        rows.append(
            {
                "path": f"{number}.png", "label": "ab"[number % 2],
                "width": picture.width, "height": picture.height, "mode": picture.mode,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _base(name: str = "resnet", **settings: Any) -> Base:
    return Base(
        Architecture(architecture=name, settings={**(RESNET if name == "resnet" else {}), **settings}), None, None
    )


def _prepared(task: Task, rows: pd.DataFrame, media: Path, base: Base, name: str = "encoder", **options: Any) -> Path:
    folder = media / name
    folder.mkdir()
    task.prepare([rows], task.Preprocess.model_validate(options), a_place(folder, base=base, media=media))
    return folder


def test_size_channels_and_statistics_come_from_the_data(task: Task, gray: pd.DataFrame, tmp_path: Path) -> None:
    picture = read_json(_prepared(task, gray, tmp_path, _base()) / "picture.json")
    assert (picture["size"], picture["channels"], picture["flip"]) == (12, "grayscale", False)
    pixels = np.stack([np.asarray(Image.open(tmp_path / path).resize((12, 12), 2)) for path in gray["path"]]) / 255
    assert picture["mean"] == pytest.approx([pixels.mean()], abs=1e-5)
    assert picture["deviation"] == pytest.approx([pixels.std()], abs=1e-5)


def test_pixels_are_kept_as_they_are(task: Task, tmp_path: Path) -> None:
    random = np.random.default_rng(4)
    original = random.integers(0, 255, (4, 8, 8, 3), dtype=np.uint8)
    rows = _written(tmp_path, [Image.fromarray(pixels) for pixels in original])
    folder = _prepared(task, rows, tmp_path, _base())
    table = task.encode(rows, a_place(folder, media=tmp_path))
    assert str(table.schema.field("pixels").type) == "fixed_size_list<item: uint8>[192]"
    found = np.array(table["pixels"].to_pylist(), dtype=np.uint8).reshape(4, 3, 8, 8)
    np.testing.assert_array_equal(found, original.transpose(0, 3, 1, 2))

    learner = a_learner(task, Model(base=_base().reference, method="pretrain"), a_place(folder, base=_base()))
    batch = learner.collate(EncodedRows(table).__getitems__(range(4)))
    assert batch["pixel_values"].shape == (4, 3, 8, 8)
    torch.testing.assert_close(batch["pixel_values"].mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(batch["pixel_values"].std(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)


def test_sixteen_bits_become_eight(task: Task, gray: pd.DataFrame, tmp_path: Path) -> None:
    folder = _prepared(task, gray, tmp_path, _base())
    Image.fromarray(np.full((12, 12), 0x8040, dtype=np.uint16)).save(tmp_path / "deep.png")
    table = task.encode(pd.DataFrame({"path": ["deep.png"], "label": ["a"]}), a_place(folder, media=tmp_path))
    assert set(table["pixels"][0].as_py()) == {0x80}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_picture_is_read(task: Task, gray: pd.DataFrame, tmp_path: Path, mode: str) -> None:
    folder = _prepared(task, gray, tmp_path, _base(), channels="rgb")
    suffix = "tif" if mode in ("CMYK", "I;16") else "png"
    Image.new("L", (9, 7), 128).convert("I;16" if mode == "I;16" else mode).save(tmp_path / f"odd.{suffix}")
    row = pd.DataFrame({"path": [f"odd.{suffix}"], "label": ["a"]})
    table = task.encode(row, a_place(folder, media=tmp_path))
    assert len(table["pixels"][0]) == 3 * 12 * 12


def test_a_picture_on_its_side_is_turned_up(task: Task, gray: pd.DataFrame, tmp_path: Path) -> None:
    """Cameras write how to turn a picture beside the pixels: orientation 6 is a quarter turn."""
    folder = _prepared(task, gray, tmp_path, _base())
    picture = Image.fromarray(np.outer(np.arange(12), np.ones(12)).astype(np.uint8) * 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    table = task.encode(pd.DataFrame({"path": ["turned.png"], "label": ["a"]}), a_place(folder, media=tmp_path))
    found = np.array(table["pixels"][0].as_py()).reshape(12, 12)
    np.testing.assert_array_equal(found, np.rot90(np.asarray(picture), -1))


def test_what_is_no_picture_is_named(task: Task, gray: pd.DataFrame, tmp_path: Path) -> None:
    folder = _prepared(task, gray, tmp_path, _base())
    (tmp_path / "page.png").write_bytes(io.BytesIO(b"<html>").getvalue())
    with pytest.raises(BadRequest, match=r"page.png: no picture that can be decoded"):
        task.encode(pd.DataFrame({"path": ["page.png"], "label": ["a"]}), a_place(folder, media=tmp_path))


def test_a_trained_model_is_a_base_for_other_labels(task: Task, gray: pd.DataFrame, tmp_path: Path) -> None:
    first = _prepared(task, gray, tmp_path, _base(), name="first", size=16)
    module = a_learner(task, Model(base=_base().reference, method="pretrain"), a_place(first, base=_base())).module
    model = tmp_path / "model"
    model.mkdir()
    task.save(learnt(module), a_place(first), into=model)

    base = Base("models:/pictures@champion", model, "0" * 64)
    rows = gray.assign(label=["x", "y", "z"] * 8)
    second = _prepared(task, rows, tmp_path, base, name="second")
    assert read_json(second / "picture.json")["size"] == 16, "a base says how it wants its pictures"
    assert read_json(second / "picture.json")["mean"] == read_json(first / "picture.json")["mean"]
    again = a_learner(task, Model(base=str(base.reference), method="full"), a_place(second, base=base)).module
    weights, stored = again.state_dict(), load_file(model / "model.safetensors")
    head = [name for name in weights if name.startswith("classifier")]
    assert {weights[name].shape[0] for name in head} == {3}
    body = [name for name in weights if name not in head]
    assert body
    assert all(torch.equal(weights[name], stored[name]) for name in body)


def test_half_of_the_pictures_are_mirrored_in_training_only(task: Task, gray: pd.DataFrame, tmp_path: Path) -> None:
    folder = _prepared(task, gray, tmp_path, _base(), flip=True)
    module = a_learner(task, Model(base=_base().reference, method="pretrain"), a_place(folder, base=_base())).module
    seen: list[torch.Tensor] = []
    embedder = next(module.children())
    embedder.register_forward_pre_hook(lambda _, given, options: seen.append(given[0]), with_kwargs=True)
    pixels = torch.randn(200, 1, 12, 12)
    for training in (True, False):
        module.train(training)
        module(pixel_values=pixels)
    mirrored = (seen[0] == pixels.flip(-1)).all(dim=(1, 2, 3))
    untouched = (seen[0] == pixels).all(dim=(1, 2, 3))
    assert (mirrored ^ untouched).all()
    assert 60 < mirrored.sum() < 140
    assert torch.equal(seen[1], pixels)


@pytest.mark.parametrize(
    ("base", "message"),
    [
        (_base("bert"), r"bert does not classify pictures.*resnet"),
        (_base("resnett"), r"'resnett'.*Did you mean.*resnet"),
        (_base(hidden_sizes="many"), r"settings.*hidden_sizes"),
        (_base(hiden_sizes=[8]), r"settings.hiden_sizes.*hidden_sizes"),
        (_base(num_channels=3), r"num_channels is 3.*grayscale \(1\)"),
    ],
)
def test_impossible_networks_are_refused(
    task: Task, gray: pd.DataFrame, tmp_path: Path, base: Base, message: str
) -> None:
    with pytest.raises(BadRequest, match=message):
        _prepared(task, gray, tmp_path, base)


def test_another_architecture_needs_no_code(task: Task, gray: pd.DataFrame, tmp_path: Path) -> None:
    settings = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    base = _base("vit", **settings, patch_size=4)
    folder = _prepared(task, gray, tmp_path, base)
    learner = a_learner(task, Model(base=base.reference, method="pretrain"), a_place(folder, base=base))
    rows = EncodedRows(task.encode(gray, a_place(folder, media=tmp_path)))
    answer = learner.module(**learner.collate(rows.__getitems__(range(8))))
    assert answer.logits.shape == (8, 2)
    assert torch.isfinite(answer.loss)
