"""A picture that a network draws: the noise it begins with, its bytes, and the text that it is sent as.

Imports torch at once.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "data:image/png;base64,"
_SEED_BYTES = 8  # as many as torch's generator takes

Shape = tuple[int, int, int]  # channels, height, width
Pixels = np.ndarray[Any, np.dtype[np.uint8]]  # (pictures, channels, height, width)


class Drawn(NamedTuple):
    """pictures: (n, channels, height, width), -1 to 1."""

    pictures: Tensor


class Loss(NamedTuple):
    """loss: what training makes smaller, a mean over the batch."""

    loss: Tensor


def seeds(rows: pd.DataFrame) -> list[str | int]:
    """What the picture of each row is drawn from: its seed, or its place where it has none."""
    given = rows["seed"].tolist() if "seed" in rows.columns else [None] * len(rows)
    return [seed if isinstance(seed, str) else place for place, seed in enumerate(given)]


def noise(names: Iterable[object], shape: Sequence[int]) -> Tensor:
    """(names, *shape) float32 from the standard normal distribution; equal names give equal noise, alone or not."""
    generator = torch.Generator()
    return torch.stack([torch.randn(*shape, generator=generator.manual_seed(_seed(name))) for name in names])


def _seed(name: object) -> int:
    digest = hashlib.sha256(f"{name}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:_SEED_BYTES], "big", signed=True)


def as_pictures(pixels: Pixels) -> Tensor:
    """Bytes as a network sees them: float32, -1 to 1."""
    return torch.from_numpy(pixels).float() / 127.5 - 1


def as_pixels(pictures: Tensor) -> Pixels:
    """What a network drew as bytes."""
    values = (pictures.clamp(-1, 1) + 1) * 127.5
    return np.asarray(values.round().to(torch.uint8).cpu().numpy())


def as_uri(pixels: Pixels) -> str:
    """One picture (channels, height, width) as a PNG in a data URI (RFC 2397)."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(file, "PNG")
    return PREFIX + base64.b64encode(file.getvalue()).decode("ascii")


def from_uri(uri: str) -> Pixels:
    """The picture (channels, height, width) that as_uri() was given."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix(PREFIX))), formats=("PNG",)) as picture:
        pixels = np.asarray(picture)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
