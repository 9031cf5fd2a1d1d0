"""Pictures of an evaluation: figures without a screen, and files that are equal for equal figures.

Texts that come from the data (labels, columns) are drawn as they are: `$` begins no formula, and no letter is a box.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from core.tables.spelling import spelled_apart

MOST = 20  # labels that a plot has room for
_DOTS_PER_INCH = 110
_LONGEST = 24  # characters of a label
_FONT = "DejaVu Sans"  # comes with matplotlib
_NO_FONT = "Last Resort"  # has a box for every letter
_WEIGHTS = range(300, 501)
_NOTE = "Letters that no font of this machine has are spelled by their numbers."


@contextmanager
def drawn(
    path: Path, width: float, height: float, *, texts: Sequence[str] = (), panels: Sequence[float] = ()
) -> Iterator[tuple[Any, list[str]]]:
    """Axes to draw on, and `texts` as they can be drawn; the figure is written to `path` when the block ends.

    panels: relative heights of several axes, one below the other, which are then an array; by default there is one.
    The figure has a canvas of its own: pyplot's global state, screens and a user's matplotlibrc stay out of it.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fonts, missing = _fonts(frozenset("".join(texts)))
    with style.context(["default", {"text.parse_math": False, "font.family": fonts}]):
        figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(len(panels), height_ratios=panels, squeeze=False)[:, 0] if panels else figure.subplots()
        yield axes, spelled_apart(texts, _LONGEST, drawn=lambda letter: letter not in missing)
        if missing:
            figure.supxlabel(_NOTE, fontsize="x-small")
        figure.savefig(path, metadata={"Software": None})


def _fonts(letters: frozenset[str]) -> tuple[list[str], frozenset[str]]:
    """The families to draw letters with, matplotlib's own first, and the printing letters that none of them has."""
    from matplotlib import font_manager

    missing = frozenset(letter for letter in letters if letter.isprintable())
    missing -= _letters(font_manager.findfont(_FONT))
    families = [_FONT]
    if missing:
        upright = {
            each.name: each.fname for each in sorted(font_manager.fontManager.ttflist, key=lambda each: each.fname)
            if each.style == "normal" and each.weight in _WEIGHTS and not each.name.startswith(_NO_FONT)
        }  # fmt: skip
        has = {name: missing & _letters(file) for name, file in upright.items()}
        while best := max(has, key=lambda name: (len(has[name] & missing), name), default=None):
            if not has[best] & missing:
                break
            families.append(best)
            missing -= has[best]
    return families, missing


@cache
def _letters(file: str) -> frozenset[str]:
    """The letters that a font has a picture of."""
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, FT2Font(file).get_charmap()))
