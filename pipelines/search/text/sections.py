"""The parts of a document that stand below a heading each, and which lines of a text are its headings.

Markdown's headings are those of CommonMark (markdown-it-py reads its blocks). In other texts a first line may be the
title. A heading's own line belongs to the text of its section, so that it can be found, quoted and cited.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

from pipelines.search.text.row_blocks import reads_like_rows
from pipelines.search.text.sentences import Span
from pipelines.sources.parsers.commonmark import blocks

_TITLE_CHARS, _TITLE_WORDS = 120, 20
_NO_TITLE_END = (".", ",", ";", ":", "。", "，", "；", "：")
_NO_TITLE = re.compile(r"[={}<>|\t\\]|^\W*$|^[^\w\"'“‘«¿¡「『【（($£€¥&§№]|^\d[\d.,:/ -]*$|\w_\w|\w\(")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?^(?:---|\.\.\.)[ \t]*$\n?", re.DOTALL | re.MULTILINE)
_MARKS = re.compile(r"^[ ]{0,3}#{1,6}(?:[ \t]+|$)|[ \t]+#+[ \t]*$")
_UNDERLINE = re.compile(r"^[ ]{0,3}(?:=+|-+)[ \t]*$")
_JOIN = " > "


@dataclass(frozen=True)
class Section:
    """text[opening:start] are heading lines, text[start:end] is what stands below them."""

    heading: str
    start: int
    end: int
    opening: int


def sections(text: str, *, title: str = "", markdown: bool = False, lines: bool = False) -> list[Section]:
    """The sections of a document, in order; a passage never crosses from one to the next.

    title: of the document, where it is known. lines: code, logs and settings have no title of their own.
    """
    parts = _markdown(text, title) if markdown else [_plain(text, title, lines=lines)]
    return [part for part in parts if text[part.opening : part.end].strip()]


def heading_lines(heading: str, text: str) -> list[Span]:
    """The lines at the beginning of a passage's text that its heading says: start and end of each, without marks."""
    return [span for span, _ in _said_by(heading, text)]


def below_headings(heading: str, text: str) -> str:
    """A passage's text without the lines that its heading says."""
    found = _said_by(heading, text)
    return text[found[-1][1] :].lstrip() if found else text


def _said_by(heading: str, text: str) -> list[tuple[Span, int]]:
    """Each heading line without its marks, and where what stands below begins: a line that underlines it is its."""
    found: list[tuple[Span, int]] = []
    said, at = f"{_JOIN}{_folded(heading)}{_JOIN}", 0
    most = len(said.split()) + 2  # words of such a line, its marks on both sides included
    while heading and at < len(text):
        line = text[at:].partition("\n")[0]
        if len(line.split(maxsplit=most)) > most:  # a paragraph; to look for marks in it takes long
            break
        bare = _MARKS.sub("", line).strip()
        if bare and f"{_JOIN}{_folded(bare)}{_JOIN}" not in said:
            break
        first, at = at, at + len(line) + 1
        if bare:
            under = text[at:].partition("\n")[0]
            at += len(under) + 1 if _UNDERLINE.match(under) else 0
            begin = text.index(bare, first)
            found.append(((begin, begin + len(bare)), at))
    return found


def _folded(line: str) -> str:
    return " ".join(line.split()).casefold()


def _plain(text: str, title: str, *, lines: bool) -> Section:
    lead = len(text) - len(text.lstrip())
    line, _, rest = text[lead:].partition("\n")
    line = line.strip()
    if title:
        same = _folded(line) == _folded(title)
        return Section(title.strip(), len(text) - len(rest) if same else 0, len(text), 0)
    goes_on = rest[:1].islower()  # a paragraph whose lines were broken, as a PDF's are
    if rest.strip() and not lines and not goes_on and _is_title(line) and not reads_like_rows(text):
        return Section(line, len(text) - len(rest), len(text), 0)
    return Section("", 0, len(text), 0)


def _is_title(line: str) -> bool:
    """Whether it reads like one: short, in words, and not the first sentence of a text."""
    short = len(line) <= _TITLE_CHARS and len(line.split()) <= _TITLE_WORDS
    return bool(line) and short and not line.endswith(_NO_TITLE_END) and not _NO_TITLE.search(line)


def _markdown(text: str, title: str) -> Iterator[Section]:
    path: list[tuple[int, str]] = []
    opening = start = 0
    for depth, name, first, last in _headings(text):
        deeper = not path or depth > path[-1][0]
        if text[start:first].strip() or (start > opening and not deeper):
            yield Section(_joined(title, path), start, first, opening)
            opening = first
        path = [*[step for step in path if step[0] < depth], (depth, name)]
        start = last
    yield Section(_joined(title, path), start, len(text), opening)


def _headings(text: str) -> Iterator[tuple[int, str, int, int]]:
    """Depth, words, start and end of each heading that stands in no list and no quotation."""
    front = _FRONT_MATTER.match(text)
    skipped = front.end() if front else 0
    body = text[skipped:]
    if "#" not in body and "==" not in body and "--" not in body:
        return
    lines = body.split("\n")
    starts = list(accumulate((len(line) + 1 for line in lines), initial=skipped))
    tokens = blocks(body, html=False)  # what was HTML in a file has been read as such before
    for token, inline in pairwise(tokens):
        if token.type == "heading_open" and token.level == 0 and token.map:
            first, last = token.map
            yield int(token.tag[1:]), " ".join(inline.content.split()), starts[first], min(starts[last], len(text))


def _joined(title: str, path: list[tuple[int, str]]) -> str:
    names = [name for _, name in path if name]
    if title and (not names or _folded(names[0]) != _folded(title)):
        names.insert(0, title)
    return _JOIN.join(names)
