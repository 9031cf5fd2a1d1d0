"""Sheets of pictures: a line a class, drawn ones beside real ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.tasks.parts.plots import new_figure, write_figure

CLASSES, EACH = 10, 8  # that a sheet shows

Array = np.ndarray[Any, np.dtype[Any]]


def chosen(labels: Sequence[int] | Array) -> list[list[int]]:
    """Positions of the first pictures of each class, of the first classes."""
    numbers = np.asarray(labels)
    return [np.flatnonzero(numbers == label)[:EACH].tolist() for label in np.unique(numbers)[:CLASSES]]


def tiled(pictures: Sequence[Sequence[Array]]) -> Array:
    """Lines of pictures (channels, side, side) uint8 as one of (height, width, 3), white where there is none."""
    side = next(one.shape[-1] for line in pictures for one in line)
    sheet = np.full((len(pictures) * side, EACH * side, 3), 255, dtype=np.uint8)
    for row, line in enumerate(pictures):
        for column, one in enumerate(line):
            sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = one.transpose(1, 2, 0)
    return sheet


def write_beside(drawn: Array, real: Array, names: Sequence[str], path: Path, *, title: str) -> None:
    """A picture of two sheets of as many lines, which `names` are those of."""
    side = drawn.shape[0] // len(names)
    gap = np.full((drawn.shape[0], side // 2, 3), 255, dtype=np.uint8)
    figure, axes = new_figure(11, 0.9 + 0.52 * len(names))
    axes.imshow(np.concatenate([drawn, gap, real], axis=1), interpolation="nearest")
    axes.set_yticks([side * (row + 0.5) for row in range(len(names))], names)
    axes.set_xticks([drawn.shape[1] / 2, drawn.shape[1] * 1.5 + side / 2], ["drawn", "real"])
    axes.set_title(title)
    write_figure(figure, path)
