"""audio_classification: a sound -> one label of a fixed set.

AST, wav2vec 2.0 and its relatives, or a GRU on a log-mel spectrogram, all four methods; or logistic regression on the
mean spectrum. A row: {"path": "media/ab/ab12.wav", "label": "seven"}.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.learner import Learner, TorchLearner
from core.tables.task import Base, Interface, Place, Predictions, Task
from core.weights.base_store import base_folder
from pipelines.tasks.parts import classification, linear
from pipelines.tasks.parts.classification import Array
from pipelines.tasks.parts.sounds import mean_spectrum, sound_input
from pipelines.tasks.parts.sounds.mean_spectrum import SpectrumPredictor
from pipelines.tasks.parts.sounds.sound_input import Hearing

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from core.tables.task import Predictor
    from pipelines.tasks.parts.sounds.sound_classifier import SoundClassifier


class AudioClassification(classification.Labelled):
    contract = Contract(
        {"path": Column("media"), "label": Column("category")},
        inputs=("path",), targets=("label",), media="audio", least={"rate": "sample_rate"},
    )  # fmt: skip
    methods: Sequence[Method] = ("pretrain", "full", "lora", "transfer")
    simple: Sequence[str] = (mean_spectrum.NAME,)
    Preprocess: type[Section] = sound_input.Options
    modules: Sequence[str] = ("soundfile",)

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        training: Mapping[Method, Mapping[str, Any]] = {
            "pretrain": {"epochs": 15.0, "batch_size": 32, "learning_rate": 2e-3},
            "full": {"epochs": 4.0, "batch_size": 16, "learning_rate": 1e-4},
            "lora": {"epochs": 4.0, "batch_size": 16, "learning_rate": 1e-3},
            "transfer": {"epochs": 20.0, "batch_size": 32, "learning_rate": 1e-3},
        }
        return {"training": training[method]}

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        assert isinstance(options, sound_input.Options)
        classification.write_labels(batches, at.folder)
        if at.base.starts(mean_spectrum.NAME):
            at.base.refuse_settings()
            sound_input.write(sound_input.chosen(options, batches, at, takes="spectrogram"), at.folder)
            return
        from pipelines.tasks.parts.sounds.sound_classifier import network_config, what_is_read

        hearing = sound_input.chosen(options, batches, at, takes=what_is_read(at.base))
        sound_input.write(network_config(at.base, hearing)[1], at.folder)

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        assert isinstance(options, sound_input.Options)
        if base.starts(mean_spectrum.NAME):
            base.refuse_settings()
            return
        from pipelines.tasks.parts import encoder
        from pipelines.tasks.parts.sounds.sound_classifier import network_config, what_is_read

        hearing = sound_input.foreseen(options, base, takes=what_is_read(base))
        encoder.foresee(model, base, network_config(base, hearing)[0])

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        import pyarrow as pa

        paths, hearing = rows["path"].tolist(), sound_input.read(at.folder)
        labels = pa.array(self.truth(rows, at)["label"])
        if at.base.starts(mean_spectrum.NAME):
            return pa.table({"spectrum": list(sound_input.spectra(paths, at.media, hearing)), "labels": labels})
        return pa.table({**sound_input.columns(sound_input.heard(paths, at.media, hearing)), "labels": labels})

    def learner(self, model: Model, at: Place) -> Learner | TorchLearner:
        classes, hearing = len(classification.read_labels(at.folder)), sound_input.read(at.folder)
        if at.base.starts(mean_spectrum.NAME):
            return mean_spectrum.learner(classes)
        from transformers import set_seed

        from pipelines.tasks.parts import headed_encoder
        from pipelines.tasks.parts.sounds import sound_classifier

        config, _ = sound_classifier.network_config(at.base, hearing)
        set_seed(at.seed)
        module = headed_encoder.build(sound_classifier.SoundClassifier, model, at.base, config, classes=classes)
        return TorchLearner(
            module,
            partial(sound_classifier.collate, hearing=hearing),
            features=partial(sound_classifier.features, module, at=at, hearing=hearing),
            watch=classification.right,
            labels=True,
        )

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        if isinstance(learnt, linear.OneStepLearner):
            learnt.fitted.save(into)
            return
        from pipelines.tasks.parts import headed_encoder

        headed_encoder.save(learnt, into, base)

    def load(self, folder: Path) -> Predictor:
        labels, hearing = classification.read_labels(folder), sound_input.read(folder)
        if linear.is_kept(folder):
            return SpectrumPredictor(linear.load(folder)[0], hearing=hearing, labels=labels)
        from pipelines.tasks.parts import headed_encoder
        from pipelines.tasks.parts.sounds.sound_classifier import SoundClassifier

        module = headed_encoder.load(SoundClassifier, folder, base_folder(folder), classes=len(labels))
        return SoundPredictor(module, hearing=hearing, labels=labels)

    def simple_probabilities(self, train: pd.DataFrame, labels: Array, units: pd.DataFrame, at: Place) -> Array:
        names, hearing = classification.read_labels(at.folder), sound_input.read(at.folder)
        seen = sound_input.spectra(train["path"].tolist(), at.media, hearing)
        fitted = mean_spectrum.fit(seen, labels, classes=len(names))
        return SpectrumPredictor(fitted, hearing=hearing, labels=names).predict(units, at.media)["probabilities"]


class SoundPredictor(classification.LabelPredictor):
    def __init__(self, module: SoundClassifier, *, hearing: Hearing, labels: Sequence[str]) -> None:
        self.module, self.at_once, self.hearing, self.labels = module, module.at_once, hearing, labels

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        from pipelines.tasks.parts.sounds.sound_classifier import logits

        found = sound_input.heard(rows["path"].tolist(), media or Path(), self.hearing)
        said = logits(self.module, found, hearing=self.hearing, at_once=self.at_once)
        return {"probabilities": classification.softmax(said.numpy())}

    def interface(self) -> Interface:
        from pipelines.tasks.parts.sounds.sound_classifier import interface

        return interface(self.hearing)


TASK: Task = AudioClassification()
