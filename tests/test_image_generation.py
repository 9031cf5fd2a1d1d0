"""Small networks that draw: what is kept of them, what equal requests get, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from core.atomic_files import read_json
from core.errors import BadRequest
from core.schema.model import Architecture, Model
from core.tables.learner import TorchLearner
from core.tables.statistics import whole
from core.tables.task import Base, Exportable, Place, Task
from pipelines.tasks import find_task
from pipelines.tasks.parts.pictures import drawn, generators
from pipelines.train.batches import EncodedRows
from tests.places import a_learner, a_place

SETTINGS: dict[str, dict[str, Any]] = {
    "gan": {"noise": 4, "width": 4, "shift": 0},
    "ddpm": {"widths": [16], "patch": 2, "steps": 20, "drawing_steps": 5, "unlabelled": 0.2},
}
ROWS = 160


@pytest.fixture(scope="module")
def task() -> Task:
    return find_task("image_generation")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Pictures of 8 x 8 pixels, light on the left or on the right, with the folder that they lie in."""
    media, random, rows = tmp_path_factory.mktemp("media"), np.random.default_rng(1), []
    for number in range(ROWS):
        pixels = random.integers(0, 60, (8, 8), dtype=np.uint8)
        pixels[:, slice(0, 4) if number % 2 else slice(4, 8)] += 180
        Image.fromarray(pixels).save(media / f"{number}.png")
        rows.append(
            {
                "row_id": f"r{number:03}", "path": str(media / f"{number}.png"), "label": ("right", "left")[number % 2],
                "width": 8, "height": 8, "mode": "L",
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _base(kind: str, **settings: Any) -> Base:
    return Base(Architecture(architecture=kind, settings={**SETTINGS.get(kind, {}), **settings}), None, None)


def _prepare(task: Task, rows: pd.DataFrame, folder: Path, base: Base, **options: Any) -> Place:
    folder.mkdir(exist_ok=True)
    at = a_place(folder, base=base, media=Path("/"))
    task.prepare([rows[:100], rows[100:]], task.Preprocess.model_validate(options), at)
    return at


@pytest.fixture(scope="module", params=["gan", "ddpm"])
def at(
    request: pytest.FixtureRequest, task: Task, rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    torch.set_num_threads(1)
    return _prepare(task, rows, tmp_path_factory.mktemp(request.param), _base(request.param))


def _learner(task: Task, at: Place) -> TorchLearner:
    assert at.base.architecture is not None
    return a_learner(task, Model(base=at.base.architecture, method="pretrain"), at)


def _learn(learner: TorchLearner, batch: dict[str, torch.Tensor], steps: int) -> list[list[float]]:
    """Train on one batch. Returns each turn's loss a step."""
    module, losses = learner.module.train(), []
    players = [torch.optim.Adam(turn.parameters(module), lr=5e-3, betas=turn.betas) for turn in learner.turns]
    torch.manual_seed(3)
    for _ in range(steps):
        said = []
        for turn, player in zip(learner.turns, players, strict=True):
            module.zero_grad()
            loss = turn.loss(module, batch)
            loss.backward()
            player.step()
            said.append(loss.item())
        losses.append(said)
    return losses


def _batch(task: Task, at: Place, rows: pd.DataFrame, learner: TorchLearner) -> dict[str, torch.Tensor]:
    table = EncodedRows(task.encode(rows, at))
    return learner.collate(table.__getitems__(range(len(rows))))


@pytest.fixture(scope="module")
def learnt(task: Task, at: Place, rows: pd.DataFrame) -> TorchLearner:
    """A network that has learnt 32 of the pictures."""
    learner = _learner(task, at)
    _learn(learner, _batch(task, at, rows[:32], learner), 150)
    return learner


def test_a_batch_has_the_pictures_between_minus_one_and_one(task: Task, at: Place, rows: pd.DataFrame) -> None:
    batch = _batch(task, at, rows[:4], _learner(task, at))
    expected = np.stack([np.asarray(Image.open(path)) for path in rows["path"][:4]]) / 127.5 - 1
    torch.testing.assert_close(batch["pixels"][:, 0], torch.from_numpy(expected).float())
    assert batch["labels"].tolist() == [1, 0, 1, 0], "numbered by name: left, right"


@pytest.mark.slow
def test_drawn_pictures_come_near_what_was_learnt(
    task: Task, at: Place, rows: pd.DataFrame, learnt: TorchLearner, tmp_path: Path
) -> None:
    """Nearer than those of a network that has learnt nothing, and of the class that is asked for."""
    scores = []
    for number, learner in enumerate((_learner(task, at), learnt)):
        folder = tmp_path / str(number)
        task.save(learner, at, into=folder)
        units = task.units(rows, at.folder)
        said = {**task.load(folder).predict(units), **task.truth(units, at)}
        scores.append(whole(task.score, task.measure(said)))
    before, after = scores
    assert after["frechet_distance"] < before["frechet_distance"] / 2
    assert after["class_asked"] > 0.9


@pytest.mark.slow
def test_a_saved_network_draws_the_same_and_keeps_only_what_draws(
    task: Task, at: Place, rows: pd.DataFrame, learnt: TorchLearner, tmp_path: Path
) -> None:
    task.save(learnt, at, into=tmp_path)
    assert not (tmp_path / "real.png").exists(), "pictures of the training rows are no part of a model"
    asked = pd.DataFrame({"label": ["left", "right"], "seed": ["x", "y"]})
    said = task.load(tmp_path).predict(asked)
    sampler = learnt.module.eval().get_submodule("sampler")
    noise = drawn.noise(["x", "y"], sampler.noise_shape)  # type: ignore[arg-type]
    with torch.inference_mode():
        expected = drawn.as_pixels(sampler(noise, torch.tensor([0, 1])).pictures)
    found = np.stack([drawn.from_uri(uri) for uri in said["picture"]]).astype(int)
    assert np.abs(found - expected).max() <= 1


@pytest.mark.slow
def test_equal_requests_get_equal_pictures(task: Task, at: Place, learnt: TorchLearner, tmp_path: Path) -> None:
    """By their seed, alone or among others; without one, by their place."""
    task.save(learnt, at, into=tmp_path)
    predictor = task.load(tmp_path)
    two = pd.DataFrame({"label": ["left", "left"]})
    first, again = (predictor.predict(two)["picture"].tolist() for _ in range(2))
    assert first == again
    assert first[0] != first[1]
    many = pd.DataFrame({"label": ["left", "right", "left"], "seed": ["a", "b", "c"]})
    together, alone = (predictor.predict(rows)["features"] for rows in (many, many[2:]))
    np.testing.assert_allclose(alone[0], together[2], atol=1e-4)
    some = pd.DataFrame({"label": ["left", "left"], "seed": [None, "a"]})
    assert predictor.predict(some)["picture"].tolist()[0] == first[0]


@pytest.mark.slow
def test_the_class_moves_the_picture(task: Task, at: Place, learnt: TorchLearner, tmp_path: Path) -> None:
    """From the same noise the lighter side is that of the class."""
    task.save(learnt, at, into=tmp_path)
    asked = pd.DataFrame({"label": ["left", "right"] * 8, "seed": np.repeat(list("abcdefgh"), 2)})
    pixels = np.stack([drawn.from_uri(uri) for uri in task.load(tmp_path).predict(asked)["picture"]]).astype(int)
    lighter_left = pixels[..., :4].mean(axis=(1, 2, 3)) > pixels[..., 4:].mean(axis=(1, 2, 3))
    assert lighter_left.tolist() == [True, False] * 8


@pytest.mark.slow
def test_answers_say_which_class_was_drawn(task: Task, at: Place, learnt: TorchLearner, tmp_path: Path) -> None:
    task.save(learnt, at, into=tmp_path)
    predictor = task.load(tmp_path)
    answers = predictor.answers(predictor.predict(pd.DataFrame({"label": ["right", "left"]})))
    assert answers["class_drawn"].tolist() == ["right", "left"]
    assert answers["picture"].str.startswith("data:image/png;base64,").all()


def test_only_a_network_of_one_step_can_be_exported(
    task: Task, at: Place, learnt: TorchLearner, tmp_path: Path
) -> None:
    task.save(learnt, at, into=tmp_path)
    predictor = task.load(tmp_path)
    assert isinstance(predictor, Exportable) == (at.base.architecture.architecture == "gan")  # type: ignore[union-attr]
    if isinstance(predictor, Exportable):
        interface = predictor.interface()
        assert predictor.module(**interface.inputs).pictures.shape == (2, 1, 8, 8)


def test_the_turns_of_a_gan_move_each_its_own_network(task: Task, rows: pd.DataFrame, tmp_path: Path) -> None:
    at = _prepare(task, rows, tmp_path / "encoder", _base("gan"))
    learner = _learner(task, at)
    moved = [{id(parameter) for parameter in turn.parameters(learner.module)} for turn in learner.turns]
    assert not moved[0] & moved[1]
    assert moved[0] | moved[1] == {id(parameter) for parameter in learner.module.parameters()}
    assert [turn.name for turn in learner.turns] == ["discriminator", "generator"]


def test_the_extractor_is_the_same_each_time_and_says_how_good_it_is(
    task: Task, rows: pd.DataFrame, tmp_path: Path
) -> None:
    """Whatever the thread count, and without moving the generators that training draws from."""
    before = torch.get_rng_state()
    for name, threads in (("first", 1), ("second", 2)):
        torch.set_num_threads(threads)
        _prepare(task, rows, tmp_path / name, _base("gan"))
    torch.set_num_threads(1)
    first, second = (tmp_path / name / "extractor.safetensors" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    assert torch.equal(before, torch.get_rng_state())
    facts = read_json(tmp_path / "first" / "extractor.json")
    assert facts["held_out"] == ROWS // 10
    assert facts["accuracy"] > 0.9


def test_baselines_are_told_apart(task: Task, rows: pd.DataFrame, tmp_path: Path) -> None:
    """Noise is far from what is real, the normal distribution of each class near."""
    at = _prepare(task, rows, tmp_path / "encoder", _base("gan"))
    units = task.units(rows, at.folder)
    truth = task.truth(units, at)
    scores = {
        name: whole(task.score, task.measure({**said, **truth}))
        for name, said in task.baselines(rows, units, at).items()
    }
    assert list(scores) == ["noise", "gaussian"]
    assert scores["gaussian"]["frechet_distance"] < scores["noise"]["frechet_distance"] / 10
    assert scores["gaussian"]["class_asked"] == 1
    assert scores["noise"]["class_asked"] < 0.8


def test_a_plot_has_drawn_pictures_beside_real_ones(
    task: Task, at: Place, rows: pd.DataFrame, learnt: TorchLearner, tmp_path: Path
) -> None:
    task.save(learnt, at, into=tmp_path / "model")
    units = task.units(rows[:9], at.folder)
    said = {**task.load(tmp_path / "model").predict(units), **task.truth(units, at)}
    task.plots(said, folder=tmp_path, prepared=at.folder)
    with Image.open(tmp_path / "drawn.png") as picture:
        assert picture.width > picture.height


def test_what_was_drawn_while_it_learnt_is_kept_by_step(task: Task, at: Place, tmp_path: Path) -> None:
    learner = _learner(task, at)
    assert learner.sample is not None
    learner.samples.update({step: learner.sample(learner.module.eval()) for step in (10, 1000)})
    first, second = learner.samples.values()
    assert first.shape == (2, 1, 8, 8)
    assert first.dtype == torch.uint8
    assert torch.equal(first, second), "the same noise every time"
    task.save(learner, at, into=tmp_path)
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.format == "PNG"


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        (_base("gann"), {}, r"'gann' draws no pictures. Did you mean 'gan'\? Allowed: gan, ddpm"),
        (_base("gan", wdth=8), {}, r"settings.wdth: .*gan has: noise, width, shift"),
        (_base("ddpm", widths=[12]), {}, r"settings.widths.0: .*multiple of 8"),
        (_base("gan"), {"size": 12}, r"gan: pictures of 12 pixels a side; allowed: 8, 16, 32"),
        (_base("ddpm", widths=[8, 8, 8]), {"size": 12}, r"ddpm: pictures of 12 pixels .* divided by 8"),
    ],
)
def test_impossible_networks_are_refused(
    task: Task, rows: pd.DataFrame, tmp_path: Path, base: Base, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadRequest, match=message):
        _prepare(task, rows, tmp_path / "encoder", base, **options)


def test_an_unknown_class_and_torn_weights_are_said(task: Task, rows: pd.DataFrame, tmp_path: Path) -> None:
    at = _prepare(task, rows, tmp_path / "encoder", _base("gan"))
    task.save(_learner(task, at), at, into=tmp_path / "model")
    with pytest.raises(BadRequest, match=r"input 2: no class 'lefft'. Did you mean 'left'\? Known: left, right"):
        task.load(tmp_path / "model").predict(pd.DataFrame({"label": ["left", "lefft"]}))
    weights = tmp_path / "model" / generators.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(BadRequest, match="its weights cannot be used"):
        task.load(tmp_path / "model")
