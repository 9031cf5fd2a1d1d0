"""What a document's styles say of its paragraphs and runs: headings, lists, what is struck out or hidden."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

from lxml import etree

from pipelines.sources.parsers.word.ooxml import Element, W, is_on, made, value

_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_DEEPEST = 6
_OUTLINES = tuple("012345678")  # levels of headings; 9 is other text
_LONGEST_CHAIN = 20  # styles that are based on each other; a longer one is a circle


@dataclass(frozen=True)
class Styles:
    """By id."""

    found: Mapping[str, Element]

    def _chain(self, style: str) -> list[Element]:
        """A style and those that it is based on."""
        chain: list[Element] = []
        while style in self.found and len(chain) < _LONGEST_CHAIN:
            chain.append(self.found[style])
            style = value(chain[-1], "basedOn") or ""
        return chain

    def heading(self, style: str) -> int:
        """The depth of a heading, from 1; 0 for other text."""
        for each in self._chain(style):
            if named := _HEADING.fullmatch(value(each, "name") or ""):
                return min(int(named[1]), _DEEPEST)
            outline = value(each, "pPr", "outlineLvl")
            if outline is not None:
                return min(int(outline) + 1, _DEEPEST) if outline in _OUTLINES else 0
        return 0

    def number(self, style: str) -> tuple[str | None, str | None]:
        """numId and ilvl of a style's list."""
        for each in self._chain(style):
            if (number := value(each, "pPr", "numPr", "numId")) is not None:
                return number, value(each, "pPr", "numPr", "ilvl")
        return None, None

    def is_no_text(self, properties: Element | None, style: str) -> bool:
        """Whether a run is struck out or hidden, by itself or by a style."""
        own = value(properties, "rStyle") or ""
        said = [properties, *(each.find(W + "rPr") for name in (own, style) for each in self._chain(name))]
        for name in ("strike", "dstrike", "vanish"):
            if next((on for each in said if (on := is_on(each, name)) is not None), False):
                return True
        return False


def read_styles(root: Element | None) -> Styles:
    each_style = root.findall(W + "style") if root is not None else []
    return Styles({each.get(W + "styleId", ""): each for each in each_style})


def names_alone(root: Element) -> Element:
    """The styles' ids and names, and the lists that they stand for: what mammoth reads, in a tenth of its time."""
    slim = made("styles")
    for style in root.findall(W + "style"):
        bare = etree.SubElement(slim, style.tag, style.attrib)
        bare.extend(copy(child) for child in style if child.tag == W + "name")
        if style.get(W + "type") == "numbering":
            bare.extend(copy(child) for child in style if child.tag == W + "pPr")
    return slim
