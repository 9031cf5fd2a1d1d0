"""Where the sentences of a text end, by rules: no model, no language set, offsets kept.

A border is a mark that ends sentences, with its closing quotes, before white space and something that starts a
sentence; an empty line; a list's next item; or a page's end, unless the sentence goes on in lower case. Marks of
scripts without spaces need no white space; Thai has no marks (pipelines/search/text/passages.py cuts at its spaces). It
errs on the side of too few borders: two sentences in one passage read well, half a sentence does not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

_CLOSERS = "\"'”’»)\\]」』】）》"
_OPENERS = "\"'“‘«(\\[「『【（《¿¡"
_PARAGRAPH = re.compile(r"\n[ \t\r\f\v]*\n\s*")
_PAGE_END = re.compile(r"(?<![ \t])[ \t]*\n?\f(?!\s*[a-zà-öø-ÿа-яα-ω])|(?<=[.!?])[ \t]*\n?\f")
_ITEM = re.compile(r"\n(?=[ \t]*(?:[-*+•]|\d{1,3}[.)])[ \t])")
_CJK = "\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff01-\uff5e"  # with their punctuation
_HARD = "。！？｡।॥۔؟።။។"  # they end nothing but sentences
# Not a border: a quoted sentence inside another ("他说：「好。」，然后走了", "「はい。」と言った").
_END = re.compile(
    rf"(?P<mark>[.!?…]+)[{_CLOSERS}]*(?=\s)"
    rf"|(?:[{_HARD}]++|(?<=[{_CJK}])[?!]++(?=[{_CLOSERS}{_CJK}]))"
    rf"(?:[{_CLOSERS}]++(?!と|って)|(?![{_CLOSERS}]))(?![，、。；：－,;])"
)
_STARTS = re.compile(rf"\s+[{_OPENERS}]*[^\W_a-z]")  # a capital, a digit, or a letter of a script without case
_WORD_BEFORE = re.compile(rf"[^\s(\[\"“/{_CJK}]+$")
_NEXT_WORD = re.compile(rf"\s*[{_OPENERS}]*([^\W\d_]+)")
_NUMBER = re.compile(r"\s*\d")
_DOTTED = re.compile(r"^(?:[^\W\d_]\.)+[^\W\d_]?$")  # "U.S", "e.g", "J"


def word_set(*lines: str) -> frozenset[str]:
    """The words that stand in some lines, with white space between them."""
    return frozenset(" ".join(lines).split())


# They stand before a name, so the next word's capital says nothing.
_BEFORE_A_NAME = word_set(
    "mr mrs ms messrs mme dr prof st sen rep gov gen lt sgt capt cmdr adm maj rev hon pres mt ft",
    "vs cf ca approx eg ie viz",
)
# They stand before a number; before anything else they are words ("It is an art. Nobody ...").
_BEFORE_A_NUMBER = word_set(
    "no nos vol vols fig figs eq eqs ch sec pp p art op col al jan feb mar apr jun jul aug sept sep oct nov dec"
)
# They may end a sentence: what follows decides.
_MAY_END = word_set("inc ltd co corp plc bros jr sr etc u.s u.k u.n e.u a.m p.m d.c ph.d")
_SENTENCE_WORDS = word_set(
    "the a an it its he she they we you i this that these those there in on at by for from with after before when",
    "while if as but and or so yet however although because since what who why how where his her their our my all",
    "some no most many one two",
)


def sentences(text: str) -> list[Span]:
    """Start and end of each sentence, in order, white space between them left out."""
    breaks = (found.start() for pattern in (_PARAGRAPH, _PAGE_END, _ITEM) for found in pattern.finditer(text))
    borders = sorted({*breaks, *_ends(text), len(text)})
    spans, start = [], 0
    for border in borders:
        part = text[start:border]
        stripped = part.strip()
        if stripped:
            first = start + part.index(stripped[0]) if part[0].isspace() else start
            spans.append((first, first + len(stripped)))
        start = border
    return spans


def paragraph_ends(text: str) -> set[int]:
    """Offsets at which an empty line begins: borders that are stronger than a sentence's."""
    return {found.start() for found in _PARAGRAPH.finditer(text)}


def _ends(text: str) -> Iterator[int]:
    for found in _END.finditer(text):
        if found["mark"] is None or _ends_here(text, found):
            yield found.end()


def _ends_here(text: str, found: re.Match[str]) -> bool:
    if not _STARTS.match(text, found.end()):
        return False  # at the text's own end nothing is lost by that
    if found["mark"] != ".":
        return True
    before = _WORD_BEFORE.search(text[max(0, found.start() - 40) : found.start()])
    word = before.group().lstrip("'‘") if before else ""
    lower = word.casefold()
    if lower in _MAY_END:
        return _next_word(text, found.end()) in _SENTENCE_WORDS
    if lower in _BEFORE_A_NAME or (lower in _BEFORE_A_NUMBER and _NUMBER.match(text, found.end())):
        return False
    if _DOTTED.match(word + "."):  # an initial: "J. Smith", "George W. Bush"
        return word in ("I",) or (len(word) > 1 and _next_word(text, found.end()) in _SENTENCE_WORDS)
    return not (word.isdigit() and text[: found.start() - len(word)].endswith("\n"))  # "1. First item"


def _next_word(text: str, at: int) -> str:
    found = _NEXT_WORD.match(text, at)
    return found.group(1).casefold() if found else ""
