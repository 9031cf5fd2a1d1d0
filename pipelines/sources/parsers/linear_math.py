"""Formulas as one line of text: fractions, powers and roots as a person would type them."""

from __future__ import annotations

import re

_WORD = re.compile(r"\d[\d.,]*|[^\W\d_]*|.")
_BOUND = re.compile(r"\([^()]*\)|\|[^|]*\||\[[^\[\]]*\]")


def grouped(text: str) -> str:
    """In brackets, unless it is one word or stands in brackets."""
    text = text.strip()
    return text if _WORD.fullmatch(text) or _BOUND.fullmatch(text) else f"({text})"


def fraction(above: str, below: str) -> str:
    return f"{grouped(above)}/{grouped(below)}"


def scripts(base: str, below: str = "", above: str = "") -> str:
    """What stands below and above a base. "x_(1)": in brackets, so that it does not become the word "x_1"."""
    lowered = f"_({below.strip()})" if below.strip() else ""
    raised = f"^{grouped(above)}" if above.strip() else ""
    return f"{grouped(base) if lowered or raised else base}{lowered}{raised}"


def root(inside: str, degree: str = "") -> str:
    return f"root({degree.strip()}, {inside.strip()})" if degree.strip() else f"√({inside.strip()})"


def row(cells: list[str]) -> str:
    return ", ".join(cell.strip() for cell in cells)


def matrix(rows: list[str]) -> str:
    return f"[{'; '.join(rows)}]"


def joined(parts: list[str]) -> str:
    """One behind the other; words and numbers that would run together get a blank between them."""
    text = ""
    for part in parts:
        apart = text and part and (text[-1].isalnum() or text[-1] in ")]") and part[0].isalnum()
        text += (" " if apart else "") + part
    return " ".join(text.split())
