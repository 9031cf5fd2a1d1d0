"""Rows and headings of a Word file in the form that mammoth knows."""

from __future__ import annotations

from pipelines.sources.parsers.word.ooxml import Element, W, all_of, made, value
from pipelines.sources.parsers.word.styles import Styles

_OUTLINES = ("0", "1", "2", "3", "4", "5")


def keep_columns(root: Element) -> None:
    """Columns that a row leaves out before its first cell, and cells merged in Word 97's way."""
    for row in all_of(root, W + "tr"):
        skipped = value(row.find(W + "trPr"), "gridBefore")
        if skipped and skipped.isdecimal() and 0 < int(skipped) < 100:
            empty = made("tc", made("tcPr", made("gridSpan", val=skipped)), made("p"))
            place = next((at for at, child in enumerate(row) if child.tag == W + "tc"), len(row))
            row.insert(place, empty)
        first: Element | None = None
        for cell in row.findall(W + "tc"):
            merge = cell.find(f"{W}tcPr/{W}hMerge")
            if merge is not None and merge.get(W + "val") != "restart" and first is not None:
                _widen(first)
                row.remove(cell)
            else:
                first = cell if merge is not None else None


def _widen(cell: Element) -> None:
    properties = cell.find(W + "tcPr")
    assert properties is not None
    span = properties.find(W + "gridSpan")
    if span is None:
        properties.append(made("gridSpan", val="2"))
    else:
        span.set(W + "val", str(int(span.get(W + "val", "1")) + 1))


def name_headings(root: Element, styles: Styles) -> None:
    """Headings of every style get the names that mammoth knows: their depth is what matters."""
    for paragraph in all_of(root, W + "p"):
        properties = paragraph.find(W + "pPr")
        style = None if properties is None else properties.find(W + "pStyle")
        if style is not None and (depth := styles.heading(style.get(W + "val", ""))):
            style.set(W + "val", f"Heading{depth}")
            continue
        outline = value(properties, "outlineLvl")
        if style is None and outline is not None and outline in _OUTLINES:
            properties.insert(0, made("pStyle", val=f"Heading{int(outline) + 1}"))
