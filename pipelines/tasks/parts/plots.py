"""Pictures of an evaluation: figures without a screen, and files that are equal for equal figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_DOTS_PER_INCH = 110


def new_figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure of its own canvas: pyplot's global state and screen back-ends stay out of it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def write_figure(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Software": None})
