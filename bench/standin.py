"""An embedder that costs nothing, so that what is around it shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from zlib import crc32

import numpy as np

DIM = 384

Vectors = np.ndarray[Any, np.dtype[np.float32]]


class StandIn:
    """A unit vector from a checksum of the text."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """(texts, DIM)."""
        found = np.array([np.random.default_rng(crc32(text.encode())).standard_normal(DIM) for text in texts])
        unit: Vectors = (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def encode_batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Vectors]]:
        """As pipelines.search.vectors.embedder's."""
        for first in range(0, len(texts), 256):
            rows = list(range(first, min(first + 256, len(texts))))
            yield rows, self.encode([texts[row] for row in rows])


@contextmanager
def free_embedding() -> Iterator[None]:
    """The stage `embed` with the stand-in in place of a model, while the block runs."""
    from unittest import mock

    with mock.patch("pipelines.embed.embed.load", return_value=StandIn()):
        yield
