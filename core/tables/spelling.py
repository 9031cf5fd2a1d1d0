"""How a label, or another cell of somebody's data, is spelled where people read it: in a report, a plot, a reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

LONGEST = 60  # characters that a table has room for
_MANY = 20
_JOINERS = "\u200c\u200d"  # they print nothing, and are part of words in Persian, in Indic scripts and of emoji
_WORDS = re.compile(r"[^\W_]+(?:[ _-][^\W_]+)*")
_SIGNS = re.compile(r"([\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_]))")  # an underscore within a word is one
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _every(letter: str) -> bool:
    return True


def spelled(text: str, longest: int = LONGEST, *, drawn: Callable[[str], bool] = _every) -> str:
    """A text on one line: as it is, or in quotes with escapes, as Python writes it.

    Quotes stand where the text is empty, has blanks at its ends, begins with a quote, or has a letter that does not
    print. longest: of a longer text, the beginning and the end stand. drawn: whether there is a picture of a letter.
    """
    if len(text) > longest:
        end = longest // 3
        text = f"{text[: longest - end - 1]}…{text[len(text) - end :]}"
    prints = [_prints(letter) and drawn(letter) for letter in text]
    if text and text == text.strip() and text[0] != '"' and all(prints):
        return text
    letters = zip(text, prints, strict=True)
    return f'"{"".join(_ESCAPES.get(each) or (each if as_it_is else _number(each)) for each, as_it_is in letters)}"'


def spelled_apart(texts: Sequence[str], longest: int = LONGEST, *, drawn: Callable[[str], bool] = _every) -> list[str]:
    """Each text as spelled() has it; those that come out alike have a number behind them."""
    found = [spelled(text, longest, drawn=drawn) for text in texts]
    times, told = Counter(found), Counter[str]()
    for at, each in enumerate(found):
        if times[each] > 1:
            told[each] += 1
            found[at] = f"{each} ({told[each]})"
    return found


def some(texts: Sequence[str], most: int = _MANY) -> str:
    """Texts with commas between; of more than `most` the first, and how many more there are."""
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(map(spelled, texts[:most])) + more


def code(text: str) -> str:
    """A text for Markdown: as it is where it is but words, else as a code span, in which only backticks mean anything.

    Source: GitHub Flavored Markdown 0.29, section 6.3.
    """
    return _code(spelled(text))


def cell(text: str) -> str:
    """A text as a cell of a Markdown table, where bars mean something too (section 4.10).

    Renderers disagree about a backslash before a bar, so there the bar is spelled by its number.
    """
    shown = spelled(text)
    if "\\|" in shown:
        shown = spelled(text, drawn=lambda letter: letter != "|")
    return _code(shown).replace("|", "\\|")


def prose(text: str) -> str:
    """A sentence for Markdown, on one line, in which no sign means anything."""
    return _SIGNS.sub(r"\\\1", " ".join(text.split("\n"))).replace("&", "&amp;").replace("<", "&lt;")


def _code(shown: str) -> str:
    if _WORDS.fullmatch(shown):
        return shown
    fence = "`"
    while fence in shown:
        fence += "`"
    room = " " if "`" in (shown[0], shown[-1]) else ""
    return f"{fence}{room}{shown}{room}{fence}"


def _prints(letter: str) -> bool:
    return letter.isprintable() or letter in _JOINERS


def _number(letter: str) -> str:
    code = ord(letter)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
