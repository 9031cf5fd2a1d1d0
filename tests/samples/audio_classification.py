"""Tones, high or low."""

from __future__ import annotations

import numpy as np
import soundfile

from core.schema.model import Architecture
from tests.conftest import Workspace
from tests.samples import Sample


def _sounds(workspace: Workspace) -> None:
    random = np.random.default_rng(1)
    for number in range(160):
        label, seconds = ("high", "low")[number % 2], 0.1 + 0.05 * random.random()
        time = np.arange(int(8000 * seconds)) / 8000
        tone = np.sin(2 * np.pi * random.uniform(*((1500, 2500), (200, 600))[number % 2]) * time)
        file = workspace.path("sounds", f"{label}_{number}.wav")
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, 0.3 * tone + 0.05 * random.standard_normal(len(time)), 8000)
    workspace.path("sounds", "low_torn.wav").write_bytes(file.read_bytes()[:900])


SAMPLE = Sample(
    _sounds,
    "task: audio_classification\n"
    'data: {source: sounds, reader: folders, name_pattern: "{label}_{take}.wav", '
    "split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "model: {base: {architecture: mel_gru}, method: pretrain}\n",
    "cut off",
    Architecture(architecture="mel_gru", settings={"hidden_size": 16, "num_layers": 1}),
)
