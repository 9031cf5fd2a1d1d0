"""Pictures side by side, each with some words beneath."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.media.decoding import NoPicture, decoded
from pipelines.tasks.parts.plots import drawn

_COLUMNS = 5
_SIDE, _LINE = 1.9, 0.2  # inches of a picture, and of a line of words
_GAP = 0.08  # of a side


@dataclass(frozen=True)
class Captioned:
    """media: a picture's file or its bytes; None where there is none. words: a line each."""

    media: Path | bytes | None
    words: Sequence[str]


def contact_sheet(pictures: Sequence[Captioned], title: str, path: Path) -> None:
    """Write them as PNG, in their order. A picture that cannot be read leaves its place empty."""
    lines = max((len(each.words) for each in pictures), default=0)
    columns, rows = min(_COLUMNS, len(pictures) or 1), -(-len(pictures) // _COLUMNS)
    height = 1 + _GAP + lines * _LINE / _SIDE  # of a place; its width is 1
    texts = list(dict.fromkeys(word for each in pictures for word in each.words))
    with drawn(path, _SIDE * max(columns, 3), _SIDE * height * rows + 0.6, texts=texts) as (axes, told):
        spelled = dict(zip(texts, told, strict=True))
        for at, each in enumerate(pictures):
            left, top = at % _COLUMNS, -(at // _COLUMNS) * height
            _picture(axes, each.media, left, top)
            words = "\n".join(spelled[word] for word in each.words)
            axes.text(left + 0.5, top - 1, words, ha="center", va="top", fontsize="small")
        axes.set(xlim=(0, columns), ylim=(-rows * height, 0), aspect="equal")
        axes.set_axis_off()
        axes.figure.suptitle(title)


def _picture(axes: object, media: Path | bytes | None, left: float, top: float) -> None:
    """Draw a picture into its place, as large as it fits."""
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    try:
        pixels = decoded(media).pixels.convert("RGB") if media is not None else None
    except NoPicture:
        pixels = None
    if pixels is None:
        axes.text(left + 0.5, top - 0.5, "no picture", ha="center", va="center", color="grey")
        return
    longest, room = max(pixels.size), 1 - _GAP
    width, height = (room * each / longest for each in pixels.size)
    x, y = left + (1 - width) / 2, top - (1 - height) / 2
    axes.imshow(pixels, extent=(x, x + width, y - height, y), interpolation="nearest")
