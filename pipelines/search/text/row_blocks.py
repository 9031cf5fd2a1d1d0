"""Where a text is rows and not sentences: tables, logs, code, settings files. Rows are never cut inside.

Found by how the lines look, whatever the format: a table of Markdown, cells between tabs, bars, semicolons or commas,
cells at equal columns, lines that begin with a time, fenced blocks, lines of code, `key = value`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from pipelines.search.text.sentences import Span

_FENCE = re.compile(r"[ \t]*(?:(`{3,})[^`]*|(~{3,}).*)$")
_DELIMITER = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_RULE = re.compile(r"(?=.*[-=─━]{2})[ \t]*+[-=+:|─━┼│ ]*+$")
_TIME = re.compile(
    r"[ \t]*[\[(<]?(?:\d{4}[-/.]\d\d[-/.]\d\d|\d\d[-/.]\d\d[-/.]\d{4}|\d\d:\d\d:\d\d|[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d"
    r"|[A-Z][a-z]{2},? \d{1,2} [A-Z][a-z]{2} \d{4}|\d{10}(?:\d{3})?[ \t.]|\d{1,3}(?:\.\d{1,3}){3} \S+ \S+ \[)"
)
_SECTION = re.compile(r"[ \t]*\[[^\[\]]+\][ \t]*(?:[#;].*)?$")
_SETTING = re.compile(r"[ \t]*(?:[\w.\-/\"' ]{1,60}=.*|[#;].*|\[[^\[\]]+\].*)$")
_CODE = re.compile(
    r"[ \t]*(?:#!|//|/\*|\*/|--[ \t]|@\w|</?\w[^<>]*>[ \t]*$|import [\w.{]|from [\w.]+ import|def \w|class \w+.*[:{]"
    r"|return\b.*[;)\w]$|(?:if|for|while|switch|catch|elif)\b.*[:{)]$|else[ :{]*$|try[ :{]*$"
    r"|(?:func|fn|let|const|var) \w|(?:public|private|protected|static|package|using|#include|#define) ?\S"
    r"|SELECT |INSERT |CREATE |[)\]}]+[,;)]*[ \t]*$"
    r"|[\w.\[\]\"'()$*&]+(?:[ \t]*:[ \t]*[\w.\[\]]+)?[ \t]*(?:[-+*/|&%]?=|:=|<-|=>)[ \t]*\S)"
    r"|.*(?:[;{}]|\w\([^()]*\)[:;]?|->)[ \t]*$"
)
_CELL_END = {"\t": re.compile(r"\t+"), "|": re.compile(r"\|"), ";": re.compile(r";"), ",": re.compile(r",")}
_GAP = re.compile(r"\S( {2,}|\t+)(?=\S)")
_NUMERIC = re.compile(r"[-+]?[\d.,:/%€$£ ]*\d[\d.,:/%€$£ -]*$")
_ANY_CELL_END = re.compile(r"\|[ \t]*|\t+|[;,][ \t]*| {2,}")
_TWO_LINES = re.compile(r"\S[ \t\r]*\n[ \t]*[^\s]")  # one below the other: a text without them has no rows
_LEAST = 3  # rows of what has no other sign of being a table
_RECORDS = 0.3  # of a log's lines, at least so many begin with a time
_CODE_LINES = 0.6
_TEXT_OF_CODE = 0.5  # of all lines: then single lines between others are code too
_COMMA_CELL = 40  # characters on the mean, at most: prose has commas too


@dataclass(frozen=True)
class Rows:
    """rows: start and end of each, in order. head: of the row (with the line under it) that says what cells are."""

    rows: tuple[Span, ...]
    head: Span | None = None

    @property
    def start(self) -> int:
        return self.rows[0][0]

    @property
    def end(self) -> int:
        return self.rows[-1][1]


@dataclass(frozen=True)
class _Line:
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)

    @property
    def blank(self) -> bool:
        return not self.text.strip()


class _Lines(list[_Line]):
    """Lines one below the other. What is asked of them from one line after the other is counted once."""

    def __init__(self, lines: Iterable[_Line]) -> None:
        super().__init__(lines)
        self.runs: dict[str, tuple[int, int, int]] = {}  # of a mark: least cells, begin, end
        self.unclosed: dict[str, int] = {}  # the shortest fence of a mark that nothing closes

    @cached_property
    def timed(self) -> list[int]:
        """How many of the lines before each begin with a time."""
        return list(accumulate((bool(_TIME.match(line.text)) for line in self), initial=0))

    @cached_property
    def ends(self) -> list[int]:
        """The first empty line from each on, or the end."""
        found, end = [0] * len(self), len(self)
        for at in range(len(self) - 1, -1, -1):
            end = found[at] = at if self[at].blank else end
        return found

    @cached_property
    def letters(self) -> list[int]:
        """How many characters the lines before each have."""
        return list(accumulate((len(line.text) for line in self), initial=0))

    @cached_property
    def spaced(self) -> list[int]:
        """How many of the lines before each read like prose with commas."""
        read = (", " in line.text and line.text.rstrip().endswith((".", ",")) for line in self)
        return list(accumulate(read, initial=0))


_Finder = Callable[[_Lines, int], tuple[int, Rows | None]]


def row_blocks(text: str, *, lines: bool = False) -> list[Rows]:
    """The blocks of rows in a text, in order. lines: every line is one, as in a file of code."""
    if not lines and ("\n" not in text or not _TWO_LINES.search(text)):
        return []
    every = _Lines(_lines(text))
    solid = [line for line in every if not line.blank]
    if solid and (lines or (_share_of_code(solid) >= _TEXT_OF_CODE and len(solid) >= _LEAST)):
        return list(_whole(every, code=True))
    return list(_whole(every, code=False))


def reads_like_rows(text: str) -> bool:
    """Whether a text begins with rows, so that its first line is no title."""
    found = row_blocks(text)
    return bool(found) and not text[: found[0].start].strip()


def cells(row: str) -> list[Span]:
    """The cells of a row, each with what ends it."""
    ends = [found.end() for found in _ANY_CELL_END.finditer(row) if found.start() > 0]
    starts = [0, *(end for end in ends if end < len(row))]
    return list(zip(starts, [*starts[1:], len(row)], strict=True))


def _lines(text: str) -> Iterator[_Line]:
    start = 0
    for line in text.split("\n"):
        begin = len(line) - len(line.lstrip("\f\r"))
        if begin and line[:begin].strip("\r"):
            yield _Line("", start)  # a page's end parts what stands before from what stands behind
        yield _Line(line[begin:].rstrip("\r"), start + begin)
        start += len(line) + 1


def _whole(lines: _Lines, *, code: bool) -> Iterator[Rows]:
    at, prose = 0, 0
    while at < len(lines):
        end, rows = _marked(lines, at)
        if rows is not None:
            yield from _others(_Lines(lines[prose:at]), code=code)
            yield rows
            at = prose = end
        else:
            at += 1
    yield from _others(_Lines(lines[prose:]), code=code)


def _marked(lines: _Lines, at: int) -> tuple[int, Rows | None]:
    """A block that says itself what it is: fenced, or a table of Markdown."""
    fence = _FENCE.match(lines[at].text)
    if fence:
        end = _closed(lines, at, fence[1] or fence[2])
        if end is not None:
            return end + 1, _rows(lines[at : end + 1])
    if "|" in lines[at].text and at + 1 < len(lines) and _is_delimiter(lines[at + 1].text):
        end = at + 2
        while end < len(lines) and "|" in lines[end].text:
            end += 1
        head = (lines[at].start, lines[at + 1].end)
        rows = tuple((line.start, line.end) for line in lines[at + 2 : end])
        return end, Rows((head, *rows), head)
    return at, None


def _closed(lines: _Lines, at: int, mark: str) -> int | None:
    """The line that closes a fenced block; None where none does."""
    if len(mark) >= lines.unclosed.get(mark[0], len(mark) + 1):
        return None  # an earlier one, no longer than this, found nothing
    close = re.compile(rf"[ \t]*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$")
    end = next((n for n in range(at + 1, len(lines)) if close.match(lines[n].text)), None)
    if end is None:
        lines.unclosed[mark[0]] = len(mark)
    return end


def _is_delimiter(line: str) -> bool:
    return "|" in line and "-" in line and bool(_DELIMITER.match(line))


def _others(lines: _Lines, *, code: bool) -> Iterator[Rows]:
    """The blocks between those that say what they are."""
    at = plain = 0
    while at < len(lines):
        end, rows = _found(lines, at, _OF_CODE if code else _FINDERS)
        if rows is not None:
            yield from _each_line(lines[plain:at] if code else ())
            yield rows
            plain = end
        at = end
    yield from _each_line(lines[plain:] if code else ())


def _found(lines: _Lines, at: int, finders: Sequence[_Finder]) -> tuple[int, Rows | None]:
    for find in () if lines[at].blank else finders:
        end, rows = find(lines, at)
        if rows is not None:
            return end, rows
    return at + 1, None


def _each_line(lines: Sequence[_Line]) -> Iterator[Rows]:
    if any(not line.blank for line in lines):
        yield _rows(lines)


def _rows(lines: Sequence[_Line], head: Span | None = None) -> Rows:
    return Rows(tuple((line.start, line.end) for line in lines if not line.blank), head)


def _log(lines: _Lines, at: int) -> tuple[int, Rows | None]:
    """Records that begin with a time; lines without one belong to the record above."""
    timed, end = lines.timed, lines.ends[at]
    count = timed[end] - timed[at]
    if timed[at + 1] == timed[at] or count < _LEAST or count < _RECORDS * (end - at):
        return 0, None
    starts = [each for each in range(at, end) if timed[each + 1] > timed[each]]
    ends = [*starts[1:], end]
    return end, Rows(tuple((lines[one].start, lines[two - 1].end) for one, two in zip(starts, ends, strict=True)))


def _settings(lines: _Lines, at: int) -> tuple[int, Rows | None]:
    """`key = value` in lines; a line `[section]` is the head of those below it."""
    head = lines[at] if _SECTION.match(lines[at].text) else None
    end = at + 1 if head or ("=" in lines[at].text and _SETTING.match(lines[at].text)) else at
    while at < end < len(lines) and _goes_on(lines, end):
        end += 1
    if sum("=" in line.text for line in lines[at:end]) < (1 if head else 2):
        return 0, None
    return end, _rows(lines[at:end], (head.start, head.end) if head else None)


def _goes_on(lines: Sequence[_Line], at: int) -> bool:
    """Whether a line is one more setting, or an empty one before it."""
    text = lines[at].text
    if lines[at].blank:
        below = lines[at + 1] if at + 1 < len(lines) else lines[at]
        return "=" in below.text and bool(_SETTING.match(below.text)) and not _SECTION.match(below.text)
    return bool(_SETTING.match(text)) and not _SECTION.match(text)


def _separated(lines: _Lines, at: int) -> tuple[int, Rows | None]:
    """Cells between equal marks, equally many in each line; between tabs, one is enough."""
    for mark, pattern in _CELL_END.items():
        wanted = len(pattern.findall(lines[at].text.strip()))
        if wanted < (1 if mark == "\t" else 2):
            continue
        end = _run_end(lines, at, mark, 1 if mark == "\t" else wanted)
        if end - at >= (2 if mark == "\t" else _LEAST) and not (mark == "," and _is_prose(lines, at, end, wanted)):
            some = lines[at:end]
            return end, _rows(some, _head(some, pattern))
    return 0, None


def _run_end(lines: _Lines, at: int, mark: str, wanted: int) -> int:
    """Where the lines end that have so many ends of cells as the first has; rules may stand between them.

    In the midst of a run that was looked at before, it ends where that one did.
    """
    known, begin, end = lines.runs.get(mark, (0, 0, 0))
    if known != wanted or not begin <= at < end:
        end = at
        while end < len(lines) and (_same(mark, lines[end].text, wanted) or _is_rule(lines, end, at)):
            end += 1
        lines.runs[mark] = (wanted, at, end)
    return end


def _same(mark: str, line: str, wanted: int) -> bool:
    count = len(_CELL_END[mark].findall(line.strip()))
    return count >= wanted if mark == "\t" else count == wanted


def _is_rule(lines: Sequence[_Line], at: int, first: int) -> bool:
    return at > first and bool(_RULE.match(lines[at].text))


def _is_prose(lines: _Lines, at: int, end: int, commas: int) -> bool:
    letters = (lines.letters[end] - lines.letters[at]) / (end - at) / (commas + 1)
    return letters > _COMMA_CELL or (lines.spaced[end] - lines.spaced[at]) * 2 > end - at


def _aligned(lines: _Lines, at: int) -> tuple[int, Rows | None]:
    """Cells that begin at equal columns, with two blanks or more between them."""
    end = at
    blank: set[int] | None = None
    while end < len(lines) and not lines[end].blank:
        line = lines[end].text.expandtabs()
        gaps = [found.span(1) for found in _GAP.finditer(line)]
        here = {n for low, high in gaps for n in range(low, high)} | set(range(len(line), len(line) + 200))
        if not gaps and not (end > at and _RULE.match(line)):
            break
        both = here if blank is None else (blank & here if gaps else blank)
        if not any(n in both for low, high in gaps for n in range(low, high)) and gaps:
            break
        blank, end = both, end + 1
    some = lines[at:end]
    return (end, _rows(some, _head(some, _GAP))) if len(some) >= _LEAST else (0, None)


def _code(lines: _Lines, at: int) -> tuple[int, Rows | None]:
    """A paragraph most of whose lines are code."""
    if lines[at].blank or (at and not lines[at - 1].blank):
        return 0, None
    end = lines.ends[at]
    some = lines[at:end]
    return (end, _rows(some)) if len(some) > 1 and _share_of_code(some) >= _CODE_LINES else (0, None)


def _share_of_code(lines: Sequence[_Line]) -> float:
    return sum(bool(_CODE.match(line.text)) for line in lines) / len(lines)


def _head(rows: Sequence[_Line], pattern: re.Pattern[str]) -> Span | None:
    """The first row, with a rule below it, unless a cell of it is a figure."""
    found = [each.strip() for each in pattern.split(rows[0].text.strip().strip("|")) if each and each.strip()]
    if len(rows) < 2 or any(_NUMERIC.match(cell) for cell in found):
        return None
    under = rows[1] if _RULE.match(rows[1].text) else rows[0]
    return rows[0].start, under.end


_FINDERS: tuple[_Finder, ...] = (_log, _settings, _separated, _aligned, _code)
_OF_CODE: tuple[_Finder, ...] = (_log, _settings)
