"""The lines of a PDF page in the order in which people read them, with words whole and cells apart.

PDFium keeps the order in which a page was drawn. Where two columns were drawn row by row, that reads across them: such
rows are found by the white space that runs down between them, and by text that goes on from line to line on both sides.
Rows of a table stay rows: a tab stands where a cell ends.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from pipelines.sources.parsers.pdf_chars import Line, Segment, raised

_LEAST_ROWS = 3  # of two columns
_MOST_GUTTERS = 4  # of a row, that are looked at
_MOST_ROWS = 400  # that are looked at from one row on
_APART = 2.5  # heights of a line: rows further apart are no neighbours
_LEAST_GUTTER = 0.6  # of a line's height
_LEAST_CHARS, _LEAST_WORDS = 12, 2.5  # of a column's line, on the mean
_GOES_ON_WITHIN, _SPACE = 0.7, 0.06  # of a line's height: parts of one line, and a space between words
_GOES_ON = 0.25  # share of a column's lines that begin in lower case, in scripts that have it
_LETTERS = 0.7  # of what stands there
_FULL, _FULL_LINES = 0.8, 0.5  # of a column's width, and the share of its lines that fill it so far
_WORD = r"[^\W_]"
_BREAK = re.compile(rf"({_WORD}[\w'’.-]*)[\ufffe\xad]\n({_WORD}[\w'’-]*)")
_TYPED = re.compile(rf"((?:{_WORD}[\w'’.-]*)?{_WORD})[-\u2010\u2011]\n({_WORD}[\w'’-]*)")
_ANY_MARK = re.compile(r"[\ufffe\xad]\n?")
_COMPOUND = re.compile(rf"{_WORD}+(?:[-\u2010\u2011]{_WORD}+)+")


@dataclass
class _Row:
    """Lines of one height, from left to right."""

    lines: list[Line]
    segments: list[Segment] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.segments = sorted((each for line in self.lines for each in line.segments), key=lambda each: each.x0)

    @property
    def y0(self) -> float:
        return self.lines[0].y0

    @property
    def height(self) -> float:
        return max(line.height for line in self.lines) or 1.0

    def gaps(self) -> list[tuple[float, float]]:
        pairs = zip(self.segments, self.segments[1:], strict=False)
        return [(left.x1, right.x0) for left, right in pairs if right.x0 - left.x1 >= _LEAST_GUTTER * self.height]

    def gutters(self) -> list[tuple[float, float]]:
        """The gaps between what may be lines of two columns, the widest first."""
        found = []
        for low, high in self.gaps():
            left = sum(len(each.text) for each in self.segments if each.x0 <= low)
            if left >= _LEAST_CHARS and sum(len(each.text) for each in self.segments) - left >= _LEAST_CHARS:
                found.append((low, high))
        return sorted(found, key=lambda gap: gap[0] - gap[1])[:_MOST_GUTTERS]


def text_of(lines: Sequence[Line]) -> str:
    """The page's text; where a line ends in a word's hyphen, the mark U+FFFE stands before the line's end."""
    ordered = _ordered(_rows(lines))
    _mark_cells(ordered)
    return "\n".join(line.text + ("\ufffe" if line.broken else "") for line in ordered)


def whole_words(text: str) -> str:
    """A word that was broken at a line's end in one piece, and what has a hyphen of its own with it.

    text: of all the document's pages; a word that stands in it with its hyphen elsewhere keeps it here.
    """
    compounds = Counter(found.casefold() for found in _COMPOUND.findall(text))

    def joined(found: re.Match[str], *, typed: bool) -> str:
        before, after = found[1], found[2]
        last = re.split(r"[-\u2010\u2011]", before)[-1]
        letters = last.isalpha() and after[:1].islower() and not (len(last) > 1 and last.isupper())
        own = f"{before}-{after}".casefold() in compounds or (typed and not letters)
        if typed and not last[-1:].isalnum():
            return found[0]
        return f"{before}{'-' if own or not letters else ''}{after}"

    text = _BREAK.sub(lambda found: joined(found, typed="\xad" not in found[0]), text)
    text = _TYPED.sub(lambda found: joined(found, typed=True), text)
    return _ANY_MARK.sub("", text)


def _rows(lines: Iterable[Line]) -> list[_Row]:
    """Lines that stand side by side, one drawn after the other, are one row."""
    rows: list[list[Line]] = []
    for line in lines:
        if not line.segments:
            continue
        if rows and _beside(rows[-1], line):
            last = rows[-1][-1]
            if line.segments[0].x0 - last.segments[-1].x1 < _GOES_ON_WITHIN * last.height:
                rows[-1][-1] = _one(last, line)
            else:
                rows[-1].append(line)
        else:
            rows.append([line])
    return [_Row(row) for row in rows]


def _beside(row: Sequence[Line], line: Line) -> bool:
    last = row[-1]
    shared = min(last.y1, line.y1) - max(last.y0, line.y0)
    right = line.segments[0].x0 >= max(each.x1 for each in last.segments)
    return right and not last.broken and shared > 0.4 * min(last.height, line.height)


def _one(line: Line, after: Line) -> Line:
    """Two parts of one line, which PDFium parts where a mark stands above it."""
    end, begin = line.segments[-1], after.segments[0]
    mark = raised(begin.text, line.y0, line.height, after.y0, after.height)
    space = "" if mark or begin.x0 - end.x1 < _SPACE * line.height else " "
    both = Segment(f"{end.text}{mark}{space}{begin.text}", end.x0, begin.x1)
    whole = [*line.segments[:-1], both, *after.segments[1:]]
    return Line(whole, line.y0, line.y1, after.broken)


def _ordered(rows: Sequence[_Row]) -> list[Line]:
    found: list[Line] = []
    at = 0
    while at < len(rows):
        end, gutter = _columns(rows, at)
        if gutter is None:
            found += rows[at].lines
            at += 1
            continue
        left, right = (_side(rows[at:end], gutter, right=right) for right in (False, True))
        found += _ordered(_rows(left)) + _ordered(_rows(right))
        at = end
    return found


def _columns(rows: Sequence[_Row], first: int) -> tuple[int, float | None]:
    """The end of the rows from `first` on that are two columns of text, and the middle of the gutter; else None."""
    for low, high in rows[first].gutters():
        end, low, high, both = _run(rows, first, low, high)
        if both < _LEAST_ROWS:
            continue
        gutter = (low + high) / 2
        some = rows[first:end]
        if all(_is_prose(_side(some, gutter, right=right)) for right in (False, True)):
            return end, gutter
    return first, None


def _run(rows: Sequence[_Row], first: int, low: float, high: float) -> tuple[int, float, float, int]:
    """How far a gutter runs down: the end, its sides, and how many rows stand on both."""
    both, end = 1, first + 1
    while end < min(len(rows), first + _MOST_ROWS):
        row, above = rows[end], rows[end - 1]
        if not 0 < above.y0 - row.y0 <= _APART * max(row.height, above.height):
            break
        left = max((each.x1 for each in row.segments if each.x0 < (low + high) / 2), default=low)
        right = min((each.x0 for each in row.segments if each.x0 >= (low + high) / 2), default=high)
        if min(high, right) - max(low, left) < _LEAST_GUTTER * row.height:
            break
        low, high, end = max(low, left), min(high, right), end + 1
        both += any(each.x1 <= low for each in row.segments) and any(each.x0 >= high for each in row.segments)
    return end, low, high, both


def _side(rows: Sequence[_Row], gutter: float, *, right: bool) -> list[Line]:
    found = []
    for row in rows:
        for line in row.lines:
            mine = [each for each in line.segments if (each.x0 >= gutter) == right]
            if mine:
                found.append(Line(mine, line.y0, line.y1, line.broken and mine[-1] is line.segments[-1]))
    return found


def _is_prose(lines: Sequence[Line]) -> bool:
    """Lines of text that goes on from one to the next, not cells."""
    texts = [line.text for line in lines]
    left, right = min(line.segments[0].x0 for line in lines), max(line.segments[-1].x1 for line in lines)
    full = sum(line.segments[-1].x1 - left >= _FULL * (right - left) for line in lines) / len(lines)
    chars = sum(map(len, texts)) / len(texts)
    letters = [letter for text in texts for letter in text if not letter.isspace()]
    if chars < _LEAST_CHARS or full < _FULL_LINES or sum(map(str.isalpha, letters)) < _LETTERS * len(letters):
        return False
    if sum(letter.lower() == letter.upper() for letter in letters) > len(letters) / 2:
        return True  # a script without letter case
    cased = [text for text in texts[1:] if text[0].isalpha()]
    words = sum(len(text.split()) for text in texts) / len(texts)
    return words >= _LEAST_WORDS and sum(text[0].islower() for text in cased) >= _GOES_ON * len(cased)


def _mark_cells(lines: Sequence[Line]) -> None:
    """A gap is the border of two cells when the line above or below has one at the same place."""
    gaps = [[(one.x1, two.x0) for one, two in zip(line.segments, line.segments[1:], strict=False)] for line in lines]
    for at, line in enumerate(lines):
        near = [gap for other in (at - 1, at + 1) if 0 <= other < len(lines) for gap in gaps[other]]
        for number, (low, high) in enumerate(gaps[at], 1):
            if high < low or any(min(high, above) - max(low, below) > 0 for below, above in near):
                line.tabs.add(number)
