"""A PDF page's characters as PDFium reads them, turned upright, in lines, and lines in segments.

PDFium gives the characters in reading order, with line ends of its own. The places of the characters say the rest:
which of them were printed twice, stand raised, or are far from the one before.
"""

from __future__ import annotations

import ctypes
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium

BROKEN = "\ufffe"  # a word's hyphen at the end of a line, and the line's end
_HYPHENS = (0x02, 0xFFFE)  # what PDFium says there
_ENDS = ("\n", "\r", BROKEN)
_GAP = 0.9  # of a character's height: white space that parts cells or columns
_TWICE = 0.3  # of a letter's width: an equal one as near as that is the same, printed bold
_OF_A_WORD, _LETTERS_TWICE = 0.8, 3  # share of a word's letters that were, and how many in all, to be sure
_RAISED, _SMALLER = 0.2, 0.85  # of the height before: a mark above the line
_RIGHT_TO_LEFT = range(0x0590, 0x0900)  # Hebrew, Arabic, Syriac; no other script that PDFium turns round is common


class Char(NamedTuple):
    """A character in upright coordinates: y grows upwards."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def height(self) -> float:
        return self.y1 - self.y0


@dataclass
class Segment:
    """A part of a line without a wide gap."""

    text: str
    x0: float
    x1: float


@dataclass
class Line:
    """segments: from left to right, or one. broken: it ends in a hyphen that PDFium took for a word's."""

    segments: list[Segment]
    y0: float
    y1: float
    broken: bool = False
    tabs: set[int] = field(default_factory=set)  # numbers of the segments before which a cell ends

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    @property
    def text(self) -> str:
        parts = [("\t" if at in self.tabs else " ") + each.text for at, each in enumerate(self.segments)]
        return "".join(parts)[1:]


def upright(page: Any) -> Any:
    """The page's text as PDFium reads it when most of it stands upright.

    PDFium goes by how the page is shown, so the lines of a page that is shown on its side come in the wrong order.
    """
    textpage = page.get_textpage()
    count = textpage.count_chars()
    some = range(0, count, max(1, count // 500))
    angles = Counter(_angle(textpage, at) for at in some if not _generated(textpage, at))
    turned = (360 - angles.most_common(1)[0][0]) % 360 if angles else 0
    if page.get_rotation() != turned:
        page.set_rotation(turned)
        textpage = page.get_textpage()
    return textpage


def lines_of(textpage: Any) -> list[Line]:
    """The lines, in PDFium's order; where the text turns, a line ends."""
    return [_line(chars, broken=broken) for chars, broken in _lines(textpage) if chars]


def _lines(textpage: Any) -> Iterator[tuple[list[Char], bool]]:
    line: list[Char] = []
    twice: list[bool] = []
    seen: set[tuple[str, int, int]] = set()
    before = None
    for char, angle in _chars(textpage):
        ends = char.text in _ENDS or (angle is not None and before is not None and angle != before and line)
        if ends:
            if line or char.text == BROKEN:
                yield _once(line, twice), char.text == BROKEN
            line, twice = [], []
        if char.text in _ENDS:
            continue
        before = before if angle is None else angle
        ligature = bool(line) and line[-1] == char  # both letters of "ff" have the place of one sign
        twice.append(not ligature and _printed_twice(char, seen))
        line.append(char)
    yield _once(line, twice), False


def _chars(textpage: Any) -> Iterator[tuple[Char, int | None]]:
    """Each character with its angle; None of white space, and of what PDFium put in: spaces, ends of lines."""
    box, half = pdfium.FS_RECTF(), 0
    last = Char(" ", 0, 0, 0, 0)
    for at in range(textpage.count_chars()):
        code = pdfium.FPDFText_GetUnicode(textpage, at)
        if 0xD800 <= code < 0xDC00:
            half = code
            continue
        if 0xDC00 <= code < 0xE000:
            code, half = (0x10000 + ((half - 0xD800) << 10) + code - 0xDC00 if half else 0), 0
        text = BROKEN if code in _HYPHENS else chr(code)
        if text in _ENDS:
            yield Char(text, 0, 0, 0, 0), None
        elif _generated(textpage, at):
            yield Char(" ", last.x1, last.y0, last.x1, last.y1), None
        elif code >= 0x20 or text == "\t":
            angle = _angle(textpage, at)
            pdfium.FPDFText_GetLooseCharBox(textpage, at, ctypes.byref(box))
            last = Char(text, *turned_box(box, (360 - angle) % 360))
            yield last, None if text.isspace() else angle


def _generated(textpage: Any, at: int) -> bool:
    return bool(pdfium.FPDFText_IsGenerated(textpage, at) == 1)


def _angle(textpage: Any, at: int) -> int:
    """Clockwise, in quarters of a turn: 0, 90, 180 or 270."""
    return round(float(pdfium.FPDFText_GetCharAngle(textpage, at)) * 2 / math.pi) % 4 * 90


def turned_box(box: Any, turn: int) -> tuple[float, float, float, float]:
    """x0, y0, x1, y1 of a rectangle on a page that is turned clockwise by so many degrees."""
    left, right, low, high = box.left, box.right, box.bottom, box.top
    if turn == 270:
        return -high, left, -low, right
    if turn == 180:
        return -right, -high, -left, -low
    if turn == 90:
        return low, -right, high, -left
    return left, low, right, high


def _printed_twice(char: Char, seen: set[tuple[str, int, int]]) -> bool:
    """Whether the same letter stands at the same place already: some programs print bold so."""
    step = (char.x1 - char.x0) * _TWICE
    if char.text.isspace() or step <= 0:
        return False
    x, y = char.x0 / step, char.y0 / step
    known = any((char.text, round(x + dx), round(y + dy)) in seen for dx in (-0.5, 0.5) for dy in (-0.5, 0.5))
    seen.add((char.text, round(x), round(y)))
    return known


def _once(chars: Sequence[Char], twice: Sequence[bool]) -> list[Char]:
    """Without words that were printed before. Where it is not one run of words, nothing is left out."""
    words = [list(run) for _, run in groupby(zip(chars, twice, strict=True), key=lambda each: each[0].text.isspace())]
    known = [sum(again for _, again in word) >= _OF_A_WORD * len(word) for word in words]
    letters = sum(again for word, whole in zip(words, known, strict=True) if whole for _, again in word)
    solid = [whole for word, whole in zip(words, known, strict=True) if word[0][0].text.strip()]
    runs = [whole for whole, _ in groupby(solid)]
    if runs.count(True) != 1 or letters < min(_LETTERS_TWICE, len(chars)):
        return list(chars)
    return [char for word, whole in zip(words, known, strict=True) for char, _ in word if not whole]


def _line(chars: Sequence[Char], *, broken: bool) -> Line:
    chars = _lam_alef(chars)
    solid = [char for char in chars if char.height > 0] or list(chars)
    y0, y1 = min(char.y0 for char in solid), max(char.y1 for char in solid)
    parts: list[list[Char]] = [[]]
    turned = any(ord(char.text) in _RIGHT_TO_LEFT for char in chars)
    last = None
    for char in chars:
        if not char.text.isspace():
            if last is not None and not turned and _far(last, char):
                parts.append([])
            last = char
        parts[-1].append(char)
    made = [_segment(part) for part in parts]
    return Line([each for each in made if each.text], y0, y1, broken)


def _far(last: Char, char: Char) -> bool:
    gap = max(char.x0 - last.x1, last.x0 - char.x1)
    return gap > _GAP * max(last.height, char.height)


def _segment(chars: Sequence[Char]) -> Segment:
    text = "".join(_raised(chars))
    solid = [char for char in chars if not char.text.isspace()] or chars
    return Segment(text.strip(), min(char.x0 for char in solid), max(char.x1 for char in solid))


def _raised(chars: Sequence[Char]) -> Iterator[str]:
    """The text, with `^` before raised digits: 10^6 is not 106, and a footnote's mark is no part of a word."""
    base: Char | None = None
    up = False
    for char, after in zip(chars, [*chars[1:], None], strict=True):
        if char.text.isspace() or base is None:
            base, up = (None if char.text.isspace() else char), False
        elif above(base.y0, base.height, char.y0, char.height):
            if not up:
                text = char.text + (after.text if after else "")
                yield raised(text, base.y0, base.height, char.y0, char.height)
            up = True
        else:
            base, up = char, False
        yield char.text


def raised(text: str, y0: float, height: float, mark_y0: float, mark_height: float) -> str:
    """`^` where a text that stands above the line begins with a digit or a sign; else nothing."""
    figure = text[:1].isdigit() or text[:1] in ("−", "+") or (text[:1] == "-" and text[1:2].isdigit())
    return "^" if figure and above(y0, height, mark_y0, mark_height) else ""


def above(y0: float, height: float, mark_y0: float, mark_height: float) -> bool:
    """Whether something small stands above the line that begins at y0 and has this height."""
    return mark_height <= _SMALLER * height and mark_y0 - y0 >= _RAISED * height


def _lam_alef(chars: Sequence[Char]) -> list[Char]:
    """PDFium turns the two letters of the ligature lam-alef round: they have one place, and lam comes second."""
    found = list(chars)
    for at in range(len(found) - 1):
        alef, lam = found[at], found[at + 1]
        if lam.text == "ل" and alef.text in "اأإآٱ" and abs(alef.x0 - lam.x0) < 0.01 and abs(alef.x1 - lam.x1) < 0.01:
            found[at], found[at + 1] = lam, alef
    return found
