"""MathML -> one line of text. Source: W3C, MathML Core; of an expression with notes, its presentation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from bs4 import Tag

from pipelines.sources.parsers import linear_math as line

_NO_TEXT = frozenset(("annotation", "annotation-xml", "mphantom", "mspace", "maligngroup", "malignmark"))
_INVISIBLE = ("\u2061", "\u2062", "\u2063", "\u2064")  # "applied to", "times", "comma", "plus"
_SPACED = frozenset("=<>≤≥≠≈→∈+−±×⋅·")


def as_text(tag: Tag) -> str:
    """What a formula says."""
    if tag.name in _NO_TEXT:
        return ""
    parts = [as_text(each) for each in tag.find_all(True, recursive=False)]
    if not parts:
        text = " ".join(tag.get_text().split())
        if text in _INVISIBLE:
            return ""
        return f" {text} " if tag.name == "mo" and text in _SPACED else text
    write = _WRITERS.get(tag.name)
    return write([*parts, "", ""]) if write else line.joined(parts)


_WRITERS: Mapping[str, Callable[[list[str]], str]] = {
    "mfrac": lambda parts: line.fraction(parts[0], parts[1]),
    "msup": lambda parts: line.scripts(parts[0], above=parts[1]),
    "mover": lambda parts: line.scripts(parts[0], above=parts[1]),
    "msub": lambda parts: line.scripts(parts[0], parts[1]),
    "munder": lambda parts: line.scripts(parts[0], parts[1]),
    "msubsup": lambda parts: line.scripts(parts[0], parts[1], parts[2]),
    "munderover": lambda parts: line.scripts(parts[0], parts[1], parts[2]),
    "msqrt": lambda parts: line.root(line.joined(parts)),
    "mroot": lambda parts: line.root(parts[0], parts[1]),
    "mfenced": lambda parts: f"({line.row([part for part in parts if part])})",
    "mtable": lambda parts: line.matrix([part for part in parts if part]),
    "mtr": lambda parts: line.row([part for part in parts if part]),
    "mtd": line.joined,
    "semantics": lambda parts: parts[0],
}
