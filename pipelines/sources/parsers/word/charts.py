"""The numbers of charts and the words of diagrams, as tables and lines of text."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pipelines.sources.parsers.word.ooxml import DGM, A, C, Element, Parts, R, made, parsed, run

_MOST_POINTS = 10_000  # of a series
_MOST_SERIES = 200
_LONG_NUMBER = re.compile(r"-?\d{1,15}\.\d{15,}")


def drawn(drawing: Element, parts: Parts, targets: Mapping[str, str]) -> list[Element]:
    """What a drawing says that stands in a part of its own."""
    said: list[Element] = []
    for chart in drawing.iter(C + "chart"):
        part = targets.get(chart.get(R + "id", ""), "")
        if part in parts:
            said += _chart(parsed(part, parts[part]))
    for diagram in drawing.iter(DGM + "relIds"):
        part = targets.get(diagram.get(R + "dm", ""), "")
        if part in parts:
            said += _lines(parsed(part, parts[part]))
    return said


def _lines(root: Element) -> list[Element]:
    texts = ("".join(each.text or "" for each in paragraph.iter(A + "t")) for paragraph in root.iter(A + "p"))
    return [made("p", run(text)) for text in texts if text.strip()]


def _chart(root: Element) -> list[Element]:
    """Titles as lines, then a table: a row a category, a column a series."""
    titles = [line for title in root.iter(C + "title") for line in _lines(title)]
    series = [*root.iter(C + "ser")][:_MOST_SERIES]
    if not series:
        return titles
    named = [" ".join(_points(each.find(C + "tx")).values()) for each in series]
    values = [_points(_first(each, "val", "yVal")) for each in series]
    categories: dict[int, str] = {}
    for each in series:
        categories = {**_points(_first(each, "cat", "xVal")), **categories}
    places = sorted({place for points in [categories, *values] for place in points})
    rows = [["", *named], *([categories.get(at, ""), *(each.get(at, "") for each in values)] for at in places)]
    return [*titles, made("tbl", *(made("tr", *map(_cell, row)) for row in rows))]


def _cell(text: str) -> Element:
    return made("tc", made("p", run(text)))


def _first(series: Element, *names: str) -> Element | None:
    return next((found for name in names if (found := series.find(C + name)) is not None), None)


def _shown(said: str) -> str:
    """A number as Word shows it: it keeps 15 digits, and the file has 4.4 as 4.4000000000000004."""
    return f"{float(said):.15g}" if _LONG_NUMBER.fullmatch(said) else said


def _points(element: Element | None) -> dict[int, str]:
    """The cached values of a series, by their place; a text that is no reference stands at the first."""
    if element is None:
        return {}
    found: dict[int, str] = {}
    for point in [*element.iter(C + "pt")][:_MOST_POINTS]:
        place, said = point.get("idx", ""), _shown(point.findtext(C + "v") or "")
        if place.isdecimal() and len(place) < 7:
            found[int(place)] = f"{found[int(place)]} {said}" if int(place) in found else said
    if not found and (alone := element.findtext(C + "v")):
        found[0] = alone
    return found
