"""Logistic regression on what each band of a sound's spectrogram is over time: its mean and its deviation."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.tables.task import Predictions
from pipelines.tasks.parts import classification, linear
from pipelines.tasks.parts.classification import Array
from pipelines.tasks.parts.sounds.sound_input import Hearing, spectra

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

NAME = "mean_spectrum"

# What fit() makes of spectra, (sounds, features) of about 1 in size, and labels.
fit = partial(linear.fit, strength=1.0, rounds=1000)


def learner(classes: int) -> linear.OneStepLearner:
    """Reads the column `spectrum`."""

    def read(table: pa.Table) -> Array:
        found: Array = table["spectrum"].combine_chunks().flatten().to_numpy()
        return found.reshape(table.num_rows, -1)

    return linear.OneStepLearner(read, partial(fit, classes=classes))


class SpectrumPredictor(classification.LabelPredictor):
    def __init__(self, model: linear.LinearClassifier, *, hearing: Hearing, labels: Sequence[str]) -> None:
        self.model, self.hearing, self.labels = model, hearing, labels

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        seen = spectra(rows["path"].tolist(), media or Path(), self.hearing)
        return {"probabilities": self.model.probabilities(seen)}
