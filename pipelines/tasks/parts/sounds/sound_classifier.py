"""Any encoder of sounds with a mean-pooled head: its configuration, the module, its batches, its frozen features.

Spectrograms are read by AST and our mel_gru, samples by wav2vec 2.0 and its relatives. Imports torch at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from core.errors import BadRequest
from core.tables.learner import Row, Said
from core.tables.task import Base, Interface, Place
from core.weights.device import ready
from core.weights.pooling import mean_pool
from pipelines.tasks.parts.architecture import new_config, stored_config
from pipelines.tasks.parts.encoder import groups, kept_vectors, said_of
from pipelines.tasks.parts.headed_encoder import FEATURES, vectors_file
from pipelines.tasks.parts.pooled_classifier import PooledClassifier, with_features
from pipelines.tasks.parts.sounds import mel_gru, sound_input
from pipelines.tasks.parts.sounds.sound_input import Array, Hearing

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_AST = "audio-spectrogram-transformer"
_AT_ONCE = 32  # sounds; sorted by length first, so little of it is padding
_ALLOWED = f"{_AST}, wav2vec2, hubert, wavlm, unispeech, data2vec-audio and the like, or mel_gru"


class SoundClassifier(PooledClassifier):
    """Of sounds, by the mean of the encoder's vectors over time."""

    @property
    def _norms_whole_sounds(self) -> bool:
        """Whether padding takes part in a norm over time, as in wav2vec2-base, which learnt it without a mask."""
        return getattr(self.encoder.config, "feat_extract_norm", None) == "group"

    @property
    def at_once(self) -> int:
        """How many sounds are asked together, so that none changes another's answer."""
        return 1 if self._norms_whole_sounds else _AT_ONCE

    def pooled(self, input_values: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector a sound: (sounds, width). attention_mask: (sounds, steps), 1 where there is sound."""
        config, given = self.encoder.config, {"input_values": input_values}
        if config.model_type != _AST and not self._norms_whole_sounds:
            given["attention_mask"] = attention_mask
        hidden = self.vectors(**given)
        if config.model_type == _AST:
            return hidden.mean(dim=1)
        if hasattr(config, "conv_stride"):
            attention_mask = self.encoder._get_feature_vector_attention_mask(hidden.shape[1], attention_mask)
        return mean_pool(hidden, attention_mask)

    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        features: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Said:
        """From sounds, or from the features that pooled() made of them before."""
        if features is None:
            assert input_values is not None
            assert attention_mask is not None
            features = self.pooled(input_values, attention_mask)
        return self.classified(features, labels)


def what_is_read(base: Base) -> Literal["samples", "spectrogram"]:
    """What the base's encoder reads. Raises BadRequest for one that reads no sounds."""
    config = stored_config(base) if base.architecture is None else new_config(base.architecture, {})
    if config.model_type in (_AST, mel_gru.NAME):
        return "spectrogram"
    if hasattr(config, "conv_stride") and hasattr(config, "feat_extract_norm"):
        return "samples"
    raise BadRequest(f"model.base: {config.model_type} reads no sounds. Allowed: {_ALLOWED}.")


def network_config(base: Base, hearing: Hearing) -> tuple[PreTrainedConfig, Hearing]:
    """The encoder's configuration, and how sounds go into it. Raises BadRequest where they do not fit each other."""
    frames = sound_input.frames_of(hearing.max_seconds, hearing.sample_rate)
    if base.architecture is None:
        config = stored_config(base)
    else:
        config = new_config(base.architecture, {"num_mel_bins": hearing.mels, "max_length": frames})
    if (mels := getattr(config, "num_mel_bins", hearing.mels)) != hearing.mels:
        raise BadRequest(
            f"model.base: num_mel_bins is {mels}, and the spectrograms have {hearing.mels} bands. Change it, or "
            "preprocess.mels."
        )
    if config.model_type == _AST:
        return config, replace(hearing, frames=config.max_length)
    if hasattr(config, "apply_spec_augment") and "apply_spec_augment" not in _said(base):
        config.apply_spec_augment = False  # its spans of masked steps are longer than a short sound
    return config, hearing


def interface(hearing: Hearing) -> Interface:
    """How a module is called that returns logits."""
    lengths = (hearing.frames,) * 2 if hearing.frames else (8, 6)
    if hearing.takes == "samples":
        lengths = (hearing.sample_rate // 2, hearing.sample_rate // 3)
    step = () if hearing.takes == "samples" else (hearing.mels,)
    inputs = padded([np.zeros((length, *step), np.float32) for length in lengths], hearing)
    steps = None if hearing.frames else "steps"
    axes: dict[str, tuple[str | None, ...]] = {
        "input_values": ("sounds", steps, *[None for _ in step]),
        "attention_mask": ("sounds", steps),
    }
    return Interface(inputs, axes, ("logits",))


def padded(found: Sequence[Array], hearing: Hearing) -> dict[str, Tensor]:
    """Sounds of unequal length as one block, and its mask: 1 where there is sound."""
    steps = hearing.frames or max(len(each) for each in found)
    block = np.full((len(found), steps, *found[0].shape[1:]), hearing.padding, dtype=np.float32)
    mask = np.zeros((len(found), steps), dtype=np.int64)
    for at, each in enumerate(found):
        block[at, : len(each)] = each[:steps]
        mask[at, : len(each)] = 1
    return {"input_values": torch.from_numpy(block), "attention_mask": torch.from_numpy(mask)}


def collate(rows: list[Row], *, hearing: Hearing) -> dict[str, Tensor]:
    """A batch of sounds, or of what a frozen encoder made of them."""
    if FEATURES in rows[0]:
        inputs = {FEATURES: torch.from_numpy(np.stack([row[FEATURES] for row in rows]))}
    else:
        inputs = padded(sound_input.stacked(rows, hearing.width), hearing)
    return {**inputs, "labels": torch.tensor([row["labels"] for row in rows])}


def features(module: SoundClassifier, table: pa.Table, *, at: Place, hearing: Hearing) -> pa.Table:
    """With a frozen encoder its vectors replace the sounds; computed once for equal rows, base and thread count."""
    if not module.frozen:
        return table
    values = table["values"].combine_chunks()
    digest = hashlib.sha256(values.flatten().to_numpy()).hexdigest()
    path = vectors_file(module, at, module.at_once, digest, table["length"].to_pylist())
    rows = [{"values": np.asarray(each)} for each in values.to_numpy(zero_copy_only=False)]

    def make() -> Tensor:
        found = sound_input.stacked(rows, hearing.width)
        return said_of(_by_length(module, found, hearing, module.at_once), module.pooled)

    return with_features(table.drop_columns(["values", "length"]), kept_vectors(path, make))


def logits(module: nn.Module, found: Sequence[Array], *, hearing: Hearing, at_once: int) -> Tensor:
    """(sounds, classes)."""

    def forward(**batch: Tensor) -> Tensor:
        answer: Tensor = module(**batch).logits
        return answer

    return said_of(_by_length(module, found, hearing, at_once), forward)


def _by_length(
    module: nn.Module, found: Sequence[Array], hearing: Hearing, at_once: int
) -> Iterator[tuple[list[int], Mapping[str, Tensor]]]:
    device = ready(module)
    for rows in groups([len(each) for each in found], at_once, None):
        batch = padded([found[row] for row in rows], hearing)
        yield rows, {name: value.to(device) for name, value in batch.items()}


def _said(base: Base) -> Mapping[str, Any]:
    return base.architecture.settings if base.architecture is not None else {}
