"""image_generation: a class -> a new picture of it.

A GAN or a diffusion model, trained from nothing. A row: {"path": "media/ab/ab12.png", "label": "9"}; a caller sends the
label, and a seed where another picture is wanted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.schema.columns import ROW_ID, Column, Contract
from core.schema.model import Architecture, Method, Model
from core.schema.section import Section
from core.tables.learner import Learner, TorchLearner
from core.tables.task import Base, Place, Predictions, Predictor, RowAnswers, Task
from pipelines.tasks.parts import classification
from pipelines.tasks.parts.pictures import generated, picture_input
from pipelines.tasks.parts.pictures.picture_input import Picture

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from torch import Tensor

EXTRACTOR_ROWS = 20_000  # training pictures that the extractor learns at most
_SHEET = "real.png"  # of training pictures, for the plots: no part of a model
_SAMPLES = "samples.png"  # of what was drawn while the model learnt


class ImageGeneration:
    contract = Contract(
        columns={"label": Column("category"), "path": Column("media"), "seed": Column("text", required=False)},
        inputs=("label", "seed"),
        targets=("path",),
        key=("path",),
        agreed=("label",),
        media="image",
    )
    methods: Sequence[Method] = ("pretrain",)
    metrics = generated.METRICS
    primary = "frechet_distance"
    Preprocess: type[Section] = picture_input.Options
    simple: Sequence[str] = ()
    modules: Sequence[str] = ()

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        return {
            "training": {
                "epochs": 30.0, "batch_size": 64, "learning_rate": 1e-3, "weight_decay": 0.0, "average": 0.995,
            }
        }  # fmt: skip

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        from pipelines.tasks.parts.pictures import extractor, generators, sheet

        assert isinstance(options, picture_input.Options)
        names = classification.write_labels(batches, at.folder)
        picture = Picture(picture_input.side(options, batches), picture_input.channels(options, batches))
        generators.kind_of(_architecture(at), picture.shape)
        picture_input.write(picture, at.folder)
        some = picture_input.spread(batches, EXTRACTOR_ROWS)
        pixels, labels = _pixels(some, at), _labels(some, at)
        extractor.learn(pixels, labels, at.folder, classes=len(names), seed=at.seed)
        sheet.write(pixels, labels, at.folder / _SHEET)

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        from pipelines.tasks.parts.pictures import generators

        assert isinstance(options, picture_input.Options)
        if base.architecture is not None:
            shape = Picture(options.size, options.channels or "rgb").shape if options.size else None
            generators.kind_of(base.architecture, shape)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        import pyarrow as pa

        return pa.table({"pixels": picture_input.column(_pixels(rows, at)), "labels": pa.array(_labels(rows, at))})

    def learner(self, model: Model, at: Place) -> TorchLearner:
        import torch

        from pipelines.tasks.parts.pictures.generators import OneOfEach, kind_of

        shape, classes = picture_input.read(at.folder).shape, len(classification.read_labels(at.folder))
        kind, settings = kind_of(_architecture(at), shape)
        torch.manual_seed(at.seed)
        return TorchLearner(
            kind.trained(settings, shape, classes), _Collate(shape), kind.turns, sample=OneOfEach(classes)
        )

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        from pipelines.tasks.parts.pictures import generators, sheet

        assert isinstance(learnt, TorchLearner)
        shutil.copytree(at.folder, into, dirs_exist_ok=True, ignore=shutil.ignore_patterns(_SHEET))
        generators.save(learnt.module.get_submodule("sampler"), _architecture(at), into)
        if learnt.samples:
            samples = {step: sample.numpy() for step, sample in learnt.samples.items()}
            sheet.by_step(samples, into / _SAMPLES)

    def load(self, folder: Path) -> Predictor:
        from pipelines.tasks.parts.pictures.drawing import predictor

        return predictor(folder)

    def units(self, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        """Each row's own id is the seed of the picture that is compared with it."""
        return rows.assign(seed=rows[ROW_ID])

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        from pipelines.tasks.parts.pictures import extractor

        said = extractor.described(_pixels(units, at), extractor.read(at.folder))
        return {
            "label": _labels(units, at),
            "real_features": said["features"],
            "real_extractor": said["extractor"],
        }

    def measure(self, predictions: Predictions) -> Predictions:
        return generated.measure(predictions)

    def score(self, measured: Predictions, weights: np.ndarray[Any, Any]) -> dict[str, float]:
        return generated.score(measured, weights)

    def by_row(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> RowAnswers:
        """The class that the extractor takes each drawn picture for, beside the one asked for."""
        return classification.by_row(predictions["scores"], predictions["label"], axes.get("scores", ()))

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        """Grey noise, and the normal distribution of each class's pixels."""
        from pipelines.tasks.parts.pictures import drawn, extractor, simple_pictures

        module, seeds = extractor.read(at.folder), drawn.seeds(units)
        some = picture_input.spread([train], EXTRACTOR_ROWS)
        noise = simple_pictures.noise_pictures(seeds, picture_input.read(at.folder).shape)
        normal = simple_pictures.gaussian_pictures(_pixels(some, at), _labels(some, at), _labels(units, at), seeds)
        return {"noise": extractor.described(noise, module), "gaussian": extractor.described(normal, module)}

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        return {"scores": classification.read_labels(folder)}

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        from pipelines.tasks.parts.pictures import extractor, sheet

        title = f"The extractor knows {extractor.accuracy(prepared):.1%} of the real pictures that it has not seen"
        names = classification.read_labels(prepared)
        sheet.beside(predictions, prepared / _SHEET, names, folder / "drawn.png", title=title)


class _Collate:
    """Encoded rows -> pixels (n, channels, side, side), -1 to 1, and labels (n,)."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        import torch

        from pipelines.tasks.parts.pictures.drawn import as_pictures

        pixels = picture_input.stacked(rows, self.shape)
        return {"pixels": as_pictures(pixels), "labels": torch.tensor([row["labels"] for row in rows])}


def _architecture(at: Place) -> Architecture:
    assert at.base.architecture is not None, "the only method starts from one"
    return at.base.architecture


def _pixels(rows: pd.DataFrame, at: Place) -> np.ndarray[Any, Any]:
    return picture_input.pixels(rows["path"].tolist(), at.media, picture_input.read(at.folder))


def _labels(rows: pd.DataFrame, at: Place) -> np.ndarray[Any, Any]:
    return classification.label_numbers(rows["label"], classification.read_labels(at.folder))


TASK: Task = ImageGeneration()
