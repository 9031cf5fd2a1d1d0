"""A small classifier of the training pictures: by what it makes of them, drawn and real pictures are compared.

Imports torch at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from core.atomic_files import read_json, sha256_file, write_json
from core.tables.keys import codes
from core.tables.task import Predictions
from pipelines.tasks.parts.classification import softmax
from pipelines.tasks.parts.pictures.drawn import Pixels, as_pictures, as_uri

FEATURES = 32  # numbers a picture: a gate takes their covariance some thousand times
LARGEST_SIDE = 32  # pixels that it sees of a picture
_WEIGHTS, _FACTS = "extractor.safetensors", "extractor.json"
_WIDTHS = (16, 32, 64)
_POOLED = 4  # places a side that the last layer sees, whatever the picture's size
_EPOCHS, _BATCH, _RATE = 4, 64, 2e-3
_HELD_OUT = 10  # every so many-th picture is not learnt, and says how often the classifier is right
_AT_ONCE = 512

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


class Extractor(nn.Module):
    """Pictures (n, channels, side, side), -1 to 1 -> their features (n, FEATURES) and class logits (n, classes)."""

    code = 0  # a number of its weights: features of two extractors cannot be compared

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, _WIDTHS[0], 3, padding=1), nn.ReLU(),
            nn.Conv2d(_WIDTHS[0], _WIDTHS[1], 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(_WIDTHS[1], _WIDTHS[2], 3, stride=2, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(_POOLED), nn.Flatten(),
            nn.Linear(_WIDTHS[2] * _POOLED**2, FEATURES), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(FEATURES, classes)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        side = min(LARGEST_SIDE, pictures.shape[-1])
        if side < pictures.shape[-1]:
            pictures = functional.interpolate(pictures, side, mode="area")
        features = self.body(pictures)
        return features, self.head(features)

    @torch.inference_mode()
    def of(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Features and class logits of pictures, in float32."""
        parts = [self(as_pictures(pixels[at : at + _AT_ONCE])) for at in range(0, len(pixels), _AT_ONCE)]
        features, logits = (torch.cat(some).numpy() for some in zip(*parts, strict=True))
        return features, logits


def learn(pixels: Pixels, labels: Floats, folder: Path, *, classes: int, seed: int) -> None:
    """Write an extractor of these pictures, and its accuracy on the tenth of them that it has not seen.

    It learns on one thread, so that equal pictures and an equal seed give equal weights.
    """
    threads = torch.get_num_threads()
    held = np.arange(len(labels)) % _HELD_OUT == _HELD_OUT - 1
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        try:
            torch.manual_seed(seed)
            module = _fitted(pixels[~held], torch.from_numpy(labels[~held]), classes)
            right = module.of(pixels[held])[1].argmax(axis=1) == labels[held]
        finally:
            torch.set_num_threads(threads)
    save_file(module.state_dict(), folder / _WEIGHTS)
    facts = {"accuracy": round(float(right.mean()), 4), "held_out": int(held.sum()), "learnt": int((~held).sum())}
    write_json(folder / _FACTS, facts)


def read(folder: Path) -> Extractor:
    """What learn() left."""
    weights = load_file(folder / _WEIGHTS)
    module = Extractor(weights["body.0.weight"].shape[1], weights["head.weight"].shape[0])
    module.load_state_dict(weights)
    module.code = int(codes([sha256_file(folder / _WEIGHTS)])[0])
    return module.eval()


def accuracy(folder: Path) -> float:
    """The share of unseen pictures whose class the extractor in a folder names."""
    return float(read_json(folder / _FACTS)["accuracy"])


def described(pixels: Pixels, extractor: Extractor) -> Predictions:
    """Drawn pictures as predictions: themselves, their features, and a probability for each class."""
    features, logits = extractor.of(pixels)
    return {
        "picture": np.array([as_uri(each) for each in pixels], dtype=object),
        "features": features,
        "scores": softmax(logits),
        "extractor": np.full(len(pixels), extractor.code),
    }


def _fitted(pixels: Pixels, labels: Tensor, classes: int) -> Extractor:
    module = Extractor(pixels.shape[1], classes)
    optimizer = torch.optim.AdamW(module.parameters(), lr=_RATE)
    steps = _EPOCHS * -(-len(pixels) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    for _ in range(_EPOCHS):
        for rows in torch.split(torch.randperm(len(pixels)), _BATCH):
            optimizer.zero_grad()
            loss = functional.cross_entropy(module(as_pictures(pixels[rows.numpy()]))[1], labels[rows])
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return module.eval()
