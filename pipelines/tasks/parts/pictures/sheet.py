"""Sheets of pictures: a line a class, drawn ones beside real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.tables.task import Predictions
from pipelines.tasks.parts.plots import drawn

_CLASSES, _EACH = 10, 8  # that a sheet shows
_SMALLEST, _MARGIN = 32, 90  # pixels of a sample in the sheet by step, at least, and of the space for the step

Array = np.ndarray[Any, np.dtype[Any]]


def write(pixels: Array, labels: Array, path: Path) -> None:
    """The first pictures of each class, edge to edge. pixels: (pictures, channels, side, side) uint8."""
    from PIL import Image

    lines = [pixels[rows] for rows in _chosen(labels, int(labels.max()) + 1)]
    Image.fromarray(_sheet(lines, side=pixels.shape[-1])).save(path)


def beside(predictions: Predictions, real: Path, names: Sequence[str], path: Path, *, title: str) -> None:
    """Write a picture of drawn pictures (predictions) and of the sheet that write() left, class by class."""
    from PIL import Image

    from pipelines.tasks.parts.pictures.drawn import from_uri

    with Image.open(real, formats=("PNG",)) as sheet:
        right = np.asarray(sheet)
    side, chosen = right.shape[1] // _EACH, _chosen(predictions["label"], len(names))
    left = _sheet([[from_uri(predictions["picture"][row]) for row in rows] for rows in chosen], side=side)
    gap = np.full((left.shape[0], side // 2, 3), 255, dtype=np.uint8)
    with drawn(path, 9, 1.1 + 0.5 * len(chosen), texts=names[: len(chosen)]) as (axes, texts):
        axes.imshow(np.concatenate([left, gap, right], axis=1), interpolation="nearest")
        axes.set_yticks([side * (line + 0.5) for line in range(len(chosen))], texts)
        axes.set_xticks([left.shape[1] / 2, left.shape[1] * 1.5 + side / 2], ["drawn", "real"])
        axes.set_title(title)


def by_step(samples: Mapping[int, Array], path: Path) -> None:
    """Write what was drawn while a network learnt: a line a step, a column a class, the step before each line.

    samples: by step, (classes, channels, side, side) uint8. The file stands in a model, so it depends on no font of the
    machine.
    """
    from PIL import Image, ImageDraw

    steps, first = sorted(samples), next(iter(samples.values()))
    times = -(-_SMALLEST // first.shape[-1])
    sheet = _sheet([samples[step] for step in steps], side=first.shape[-1], columns=len(first))
    pixels = sheet.repeat(times, axis=0).repeat(times, axis=1)
    side = first.shape[-1] * times
    picture = Image.new("RGB", (_MARGIN + pixels.shape[1], pixels.shape[0]), "white")
    picture.paste(Image.fromarray(pixels), (_MARGIN, 0))
    draw = ImageDraw.Draw(picture)
    for line, step in enumerate(steps):
        draw.text((_MARGIN - 6, side * line + side // 2), f"step {step:,}", fill="black", anchor="rm")
    picture.save(path)


def _chosen(labels: Array, classes: int) -> list[Array]:
    """Positions of the first pictures of each class, of the first classes."""
    return [np.flatnonzero(labels == label)[:_EACH] for label in range(min(classes, _CLASSES))]


def _sheet(lines: Sequence[Sequence[Array] | Array], *, side: int, columns: int = _EACH) -> Array:
    """(lines x side, columns x side, 3), white where a line has too few pictures."""
    sheet = np.full((len(lines) * side, columns * side, 3), 255, dtype=np.uint8)
    for row, line in enumerate(lines):
        for column, one in enumerate(line):
            sheet[row * side : (row + 1) * side, column * side : (column + 1) * side] = one.transpose(1, 2, 0)
    return sheet
