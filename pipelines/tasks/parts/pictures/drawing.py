"""A trained generator that answers: classes and seeds -> pictures. Imports torch at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from core.errors import BadRequest, near
from core.tables.keys import label_name, name_among
from core.tables.task import Interface, Predictions, Predictor
from core.weights.device import ready
from pipelines.tasks.parts import classification
from pipelines.tasks.parts.pictures import extractor, generators, picture_input
from pipelines.tasks.parts.pictures.drawn import as_pixels, noise, seeds
from pipelines.tasks.parts.pictures.extractor import Extractor
from pipelines.tasks.parts.pictures.gan import Generator

if TYPE_CHECKING:
    import pandas as pd

_AT_ONCE = 64  # pictures


class PicturePredictor:
    """Draws a picture for each row's label. Equal labels and seeds give equal pictures.

    A row without a seed is drawn from its place among the rows.
    """

    def __init__(self, module: Any, judge: Extractor, names: Sequence[str]) -> None:
        self.module, self.extractor, self.names = module, judge, names
        self.noise_shape: tuple[int, ...] = module.noise_shape

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        """The pictures as data URIs, their features, and how probable the extractor finds each class."""
        device = ready(self.module)
        labels, start = torch.tensor(self._labels(rows)), noise(seeds(rows), self.noise_shape)
        with torch.inference_mode():
            parts = [
                as_pixels(self.module(noise=some.to(device), labels=asked.to(device)).pictures)
                for some, asked in zip(torch.split(start, _AT_ONCE), torch.split(labels, _AT_ONCE), strict=True)
            ]
        return extractor.described(np.concatenate(parts), self.extractor)

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        """picture: a PNG as a data URI. class_drawn: what the extractor takes it for."""
        import pandas as pd

        drawn = np.asarray(self.names)[predictions["scores"].argmax(axis=1)]
        return pd.DataFrame({"picture": predictions["picture"], "class_drawn": drawn})

    def _labels(self, rows: pd.DataFrame) -> list[int]:
        asked = [label if label in self.names else str(label_name(label)) for label in rows["label"]]
        known = set(asked)
        numbers = {name_among(name, known): number for number, name in enumerate(self.names)}
        numbers |= {name: number for number, name in enumerate(self.names)}  # versions of before keep their names
        for number, label in enumerate(asked, start=1):
            if label not in numbers:
                raise BadRequest(
                    f"input {number}: no class {label!r}. {near(label, numbers)}Known: {', '.join(self.names)}."
                )
        return [numbers[label] for label in asked]


class ExportablePredictor(PicturePredictor):
    """One whose network draws in one step, so that it can be exported."""

    def interface(self) -> Interface:
        inputs = {"noise": torch.zeros(2, *self.noise_shape), "labels": torch.zeros(2, dtype=torch.int64)}
        axes: Mapping[str, Sequence[str | None]] = {"noise": ("pictures", None), "labels": ("pictures",)}
        return Interface(inputs, axes, ("pictures",))


def predictor(folder: Path) -> Predictor:
    """What save() left. Raises BadRequest when it is not whole."""
    names, shape = classification.read_labels(folder), picture_input.read(folder).shape
    module = generators.load(folder, shape, len(names))
    kind = ExportablePredictor if isinstance(module, Generator) else PicturePredictor
    return kind(module, extractor.read(folder), names)
