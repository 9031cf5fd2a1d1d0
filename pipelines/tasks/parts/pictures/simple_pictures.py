"""What pictures of a class look like without a network: noise, and one normal distribution a class.

Imports torch at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pipelines.tasks.parts.pictures.drawn import Pixels, Shape, noise

_MOST = 2000  # training pictures of a class that its distribution is taken from

Numbers = np.ndarray[Any, np.dtype[np.int64]]


def noise_pictures(names: Iterable[object], shape: Shape) -> Pixels:
    """Grey noise: mean 127.5, deviation 50, cut off at 0 and 255."""
    return _bytes(127.5 + 50 * noise(names, shape).numpy())


def gaussian_pictures(pixels: Pixels, labels: Numbers, asked: Numbers, names: Sequence[object]) -> Pixels:
    """A draw from the normal distribution of the pixels of each class that is asked for.

    pixels, labels: of the training pictures. The mean plus noise times the centred pictures has their mean and
    covariance exactly, without a covariance of all pixels in memory.
    """
    drawn = np.empty((len(asked), *pixels.shape[1:]), dtype=np.uint8)
    for label in np.unique(asked):
        own, rows = pixels[labels == label][:_MOST], np.flatnonzero(asked == label)
        flat = own.reshape(len(own), -1).astype(np.float32)
        mean = flat.mean(axis=0)
        shares = noise([names[int(row)] for row in rows], (len(own),)).numpy()
        values = mean + shares @ (flat - mean) / np.sqrt(max(len(own) - 1, 1))
        drawn[rows] = _bytes(values).reshape(-1, *pixels.shape[1:])
    return drawn


def _bytes(values: np.ndarray[Any, Any]) -> Pixels:
    return np.asarray(values.round().clip(0, 255).astype(np.uint8))
