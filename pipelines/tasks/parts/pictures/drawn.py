"""What draws a picture: the noise that it begins with, what a network that draws gives back, and the picture as a file.

Imports torch at once.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.schema.columns import ROW_ID

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "data:image/png;base64,"
_SEED_BYTES = 8

Shape = tuple[int, int, int]  # channels, height, width
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class Drawn(NamedTuple):
    """pictures: (n, channels, side, side), -1 to 1."""

    pictures: Tensor


class Loss(NamedTuple):
    """What training makes smaller."""

    loss: Tensor


def seeds(rows: pd.DataFrame) -> list[int]:
    """One seed a row: of its row_id where it has one, else of its position, so that equal requests get equal answers."""
    names = rows[ROW_ID] if ROW_ID in rows.columns else range(len(rows))
    digests = (hashlib.sha256(f"{name}".encode()).digest() for name in names)
    return [int.from_bytes(digest[:_SEED_BYTES], "big", signed=True) for digest in digests]


def noise(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """(seeds, *shape) float32 from the standard normal distribution; each row hangs on its own seed alone."""
    generator = torch.Generator()
    return torch.stack([torch.randn(*shape, generator=generator.manual_seed(seed)) for seed in seeds])


def as_pixels(pictures: Tensor) -> Pixels:
    """Pictures of -1 to 1 as bytes."""
    values = (pictures.clamp(-1, 1) + 1) * 127.5
    return np.asarray(values.round().to(torch.uint8).cpu().numpy())


def as_uri(pixels: Pixels) -> str:
    """A picture (channels, height, width) as a PNG in a data URI (RFC 2397)."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(file, "PNG")
    return PREFIX + base64.b64encode(file.getvalue()).decode("ascii")


def from_uri(uri: str) -> Pixels:
    """What as_uri() was given."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(PREFIX))), formats=("PNG",)) as picture:
        pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
