"""image_classification: a picture -> one label of a fixed set.

Any transformers model for image classification, new or pretrained; or logistic regression on the pixels. A row:
{"path": "media/ab/ab12.png", "label": "9"}.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.learner import Learner, TorchLearner
from core.tables.task import Base, Interface, Place, Predictions, Task
from pipelines.tasks.parts import classification, linear
from pipelines.tasks.parts.classification import Array
from pipelines.tasks.parts.pictures import picture_input
from pipelines.tasks.parts.pictures.picture_input import Picture

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from core.tables.task import Predictor

PREDICT_BATCH = 64  # pictures
BASELINE_SIDE = 28  # pixels: logistic regression sees the picture no larger than this
PIXELS = "pixels"


class Options(picture_input.Options):
    flip: Annotated[bool, Field(description="show half of the training pictures mirrored; wrong for letters")] = False


class ImageClassification(classification.Labelled):
    contract = Contract(
        {"path": Column("media"), "label": Column("category")}, inputs=("path",), targets=("label",), media="image"
    )
    methods: Sequence[Method] = ("pretrain", "full")
    simple: Sequence[str] = (PIXELS,)
    Preprocess: type[Section] = Options
    modules: Sequence[str] = ()

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        pretrain = {"epochs": 8.0, "batch_size": 64, "learning_rate": 2e-3}
        full = {"epochs": 3.0, "batch_size": 32, "learning_rate": 1e-4}
        return {"training": pretrain if method == "pretrain" else full}

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        assert isinstance(options, Options)
        classification.write_labels(batches, at.folder)
        picture = picture_input.chosen(options, batches, at)
        if at.base.starts(PIXELS):
            at.base.refuse_settings()
            picture_input.write(_small(picture), at.folder, flip=False)
            return
        from pipelines.tasks.parts.pictures import picture_classifier

        picture_input.write(picture, at.folder, flip=options.flip)
        picture_classifier.config_of(at.base, at.folder)

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        assert isinstance(options, Options)
        if base.starts(PIXELS):
            base.refuse_settings()
        elif (picture := picture_input.foreseen(options, base)) is not None:
            from pipelines.tasks.parts.pictures import picture_classifier

            picture_classifier.network_config(base, picture)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        import pyarrow as pa

        pixels = picture_input.pixels(rows["path"].tolist(), at.media, picture_input.read(at.folder))
        return pa.table({"pixels": picture_input.column(pixels), "labels": pa.array(self.truth(rows, at)["label"])})

    def learner(self, model: Model, at: Place) -> Learner | TorchLearner:
        if at.base.starts(PIXELS):
            return linear.pixels_learner(len(classification.read_labels(at.folder)))
        from pipelines.tasks.parts.pictures import picture_classifier

        collate = partial(picture_classifier.collate, picture=picture_input.read(at.folder))
        return TorchLearner(picture_classifier.build(model, at), collate, watch=classification.right, labels=True)

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        if isinstance(learnt, linear.OneStepLearner):
            learnt.fitted.save(into)
            return
        from pipelines.tasks.parts.pictures import picture_classifier

        assert isinstance(learnt, TorchLearner)
        picture_classifier.save(learnt.module, into)

    def load(self, folder: Path) -> Predictor:
        labels, picture = classification.read_labels(folder), picture_input.read(folder)
        if linear.is_kept(folder):
            return PixelsPredictor(linear.load(folder)[0], picture=picture, labels=labels)
        from pipelines.tasks.parts.pictures import picture_classifier

        return ImagePredictor(picture_classifier.load(folder), picture=picture, labels=labels)

    def simple_probabilities(self, train: pd.DataFrame, labels: Array, units: pd.DataFrame, at: Place) -> Array:
        names, picture = classification.read_labels(at.folder), _small(picture_input.read(at.folder))
        seen = picture_input.pixels(train["path"].tolist(), at.media, picture)
        fitted = linear.fit_pixels(linear.flat(seen), labels, classes=len(names))
        return PixelsPredictor(fitted, picture=picture, labels=names).predict(units, at.media)["probabilities"]


class ImagePredictor(classification.LabelPredictor):
    def __init__(self, module: Any, *, picture: Picture, labels: Sequence[str]) -> None:
        self.module, self.picture, self.labels = module, picture, labels

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        from pipelines.tasks.parts.pictures.picture_classifier import logits

        paths = rows["path"].tolist()
        said = logits(self.module, paths, media or Path(), self.picture, batch_size=PREDICT_BATCH)
        return {"probabilities": classification.softmax(said)}

    def interface(self) -> Interface:
        import torch

        inputs = {"pixel_values": torch.zeros(2, *self.picture.shape)}
        return Interface(inputs, {"pixel_values": ("pictures", None, None, None)}, ("logits",))


class PixelsPredictor(classification.LabelPredictor):
    def __init__(self, model: linear.LinearClassifier, *, picture: Picture, labels: Sequence[str]) -> None:
        self.model, self.picture, self.labels = model, picture, labels

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        pixels = picture_input.pixels(rows["path"].tolist(), media or Path(), self.picture)
        return {"probabilities": self.model.probabilities(linear.flat(pixels))}


def _small(picture: Picture) -> Picture:
    return replace(picture, size=min(BASELINE_SIDE, picture.size))


TASK: Task = ImageClassification()
