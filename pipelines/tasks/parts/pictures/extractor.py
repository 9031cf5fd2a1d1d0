"""A small classifier of the training pictures: what it makes of a picture is what drawn and real ones are compared by.

Imports torch at once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FEATURES = 32  # numbers a picture; a gate takes their covariance some thousand times
LARGEST_SIDE = 32  # pixels that it sees of a picture
_WIDTHS = (16, 32, 64)
_POOLED = 4  # places a side that the last layer sees, whatever the picture's size
_EPOCHS, _BATCH, _RATE = 4, 64, 2e-3
_HELD_OUT = 10  # every so many-th picture is not learnt, and says how often the classifier is right
_AT_ONCE = 512


class Extractor(nn.Module):
    """Pictures (n, channels, side, side), -1 to 1 -> their features (n, FEATURES) and class logits (n, classes)."""

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
        features = self.body(shrunk(pictures))
        return features, self.head(features)


def shrunk(pictures: Tensor) -> Tensor:
    """The pictures at the size that an extractor sees."""
    side = min(LARGEST_SIDE, pictures.shape[-1])
    return pictures if side == pictures.shape[-1] else functional.interpolate(pictures, side, mode="area")


def fitted(pictures: Tensor, labels: Tensor, *, classes: int, seed: int) -> tuple[Extractor, float]:
    """An extractor that has learnt the pictures, and its accuracy on the tenth of them that it has not seen.

    On one thread, so that equal pictures and an equal seed give equal weights.
    """
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(1)
        try:
            torch.manual_seed(seed)
            return _fitted(pictures, labels, classes)
        finally:
            torch.set_num_threads(threads)


def _fitted(pictures: Tensor, labels: Tensor, classes: int) -> tuple[Extractor, float]:
    held = torch.arange(len(labels)) % _HELD_OUT == _HELD_OUT - 1
    seen, numbers = pictures[~held], labels[~held]
    module = Extractor(pictures.shape[1], classes)
    optimizer = torch.optim.AdamW(module.parameters(), lr=_RATE)
    steps = _EPOCHS * -(-len(seen) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    for _ in range(_EPOCHS):
        for rows in torch.randperm(len(seen)).split(_BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(module(seen[rows])[1], numbers[rows]).backward()
            optimizer.step()
            schedule.step()
    right = extracted(module, pictures[held])[1].argmax(dim=1) == labels[held]
    return module.eval(), float(right.float().mean())


@torch.inference_mode()
def extracted(module: Extractor, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Features and class logits of pictures of -1 to 1, on the CPU."""
    parts = [module(some) for some in pictures.split(_AT_ONCE)]
    return torch.cat([features for features, _ in parts]), torch.cat([logits for _, logits in parts])
