"""Rows of delimited text, where a quote that nothing closes costs its own row and not those below it.

A quoted field may hold line ends, so a stray quote swallows lines until another quote comes. Lines were swallowed when
they read like rows on their own; then they are read again as rows. Where a field is broken and its lines do not read
like rows, each of them is a bad row: none is lost without being counted.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pipelines.sources._opening import Lines, TooLong

_FEWEST_SWALLOWED = 3  # whole lines in a field that csv finds sound, before they can speak against it
_MOST_ARE_ROWS, _HALF_ARE_ROWS = 0.8, 0.5  # of the lines in a sound field, and in a broken one
_FEWEST_ROWS = 10  # of one line each, before a table of one column is taken for one without line ends in its fields
_LONG_FIELD = 100  # lines that a field of such a table does not have
_LOOKED_AT = 100  # lines behind a broken quote in which the quote that ends its field is looked for
_INSIDE = re.compile(r'(?:[^"]++|"")*+"')  # up to the quote that closes a field


class Row(NamedTuple):
    """number: of its first line, from 1. raw: what stood there, where fields do not say it."""

    number: int
    fields: list[str]
    fault: str | None = None
    raw: str | None = None


class _Line(NamedTuple):
    """A numbered line; text is None where it was too long to be read, and told says how long."""

    number: int
    text: str | None
    told: str = ""


class _Field(NamedTuple):
    """A quoted field that runs over lines: the lines and places of its quotes; end is None where none closes it."""

    first: int
    opens: int
    last: int
    end: int | None


class _Again(Iterator[str]):
    """Lines that can be handed back. taken: those since start()."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._waiting: deque[_Line] = deque()
        self.taken: list[_Line] = []

    def start(self) -> None:
        self.taken = []

    def __next__(self) -> str:
        line = self.line()
        self.taken.append(line)
        if line.text is None:
            raise TooLong(line.told)
        return line.text

    def line_or_none(self) -> _Line | None:
        """The next line, not counted among those taken; None where there is none."""
        try:
            return self.line()
        except StopIteration:
            return None

    def line(self) -> _Line:
        """The same. Raises StopIteration where there is none."""
        if self._waiting:
            return self._waiting.popleft()
        try:
            text = next(self._lines)
        except TooLong as error:
            return _Line(self._lines.number, None, str(error))
        return _Line(self._lines.number, text)

    def back(self, lines: Sequence[_Line]) -> None:
        self._waiting.extendleft(reversed(lines))


class Rows(Iterator[Row]):
    """The rows of delimited text by RFC 4180, bad ones with their fault.

    width: how many fields a row has; None as long as the header has not been read. delimiter: what stands between them.
    """

    def __init__(self, lines: Lines, delimiter: str) -> None:
        self.width: int | None = None
        self._lines = _Again(lines)
        self._bad: deque[Row] = deque()
        self._behind_a_broken = False
        self._rows, self._of_lines = 0, 0  # sound rows, and how many of them hold line ends
        self.read_by(delimiter)

    def read_by(self, delimiter: str) -> None:
        """Take another character between fields from here on."""
        self.delimiter = delimiter
        self._reader = csv.reader(self._lines, delimiter=delimiter, strict=True)
        self._opening = re.compile(rf'(?:^|(?<={re.escape(delimiter)}))"')  # a quote where a field begins

    def first_line(self) -> str:
        """The next line, which stays the next. Raises StopIteration, TooLong."""
        line = self._lines.line()
        self._lines.back([line])
        if line.text is None:
            raise TooLong(line.told)
        return line.text

    def skip_line(self) -> None:
        self._lines.line()

    def back(self) -> None:
        """Make the row that was read last the next one again."""
        self._lines.back(self._lines.taken)
        self._lines.start()

    def __next__(self) -> Row:
        if self._bad:
            return self._bad.popleft()
        self._lines.start()
        try:
            fields = next(self._reader)
        except (csv.Error, TooLong) as error:
            return self._broken(error)
        taken = self._lines.taken
        if self.width is None or (len(taken) == 1 and len(fields) == self.width):
            return self._one_line(taken[0], fields)
        blank = not "".join(fields).strip() and len(taken) == 1
        return self._over_lines(fields) if blank or len(fields) == self.width else self._ragged(fields)

    def _one_line(self, line: _Line, fields: list[str]) -> Row:
        """A row on a line; directly behind a broken one, what is not written as rows are may be the rest of that."""
        if self._behind_a_broken:
            if not self._is_row(str(line.text)):
                return Row(line.number, [], "perhaps the rest of the broken row above it", line.text)
            self._behind_a_broken = False
        self._rows += 1
        return Row(line.number, fields)

    def _over_lines(self, fields: list[str]) -> Row:
        """A row that csv finds sound and that holds line ends; or one whose field has swallowed rows."""
        taken = self._lines.taken
        for field in self._fields(taken):
            if self._swallows(field, taken):
                return self._stray(field, f"a quote opens a field that runs over rows, to line {taken[-1].number}")
        self._rows += bool(fields)
        self._of_lines += len(taken) > 1
        return Row(taken[0].number, fields)

    def _ragged(self, fields: list[str]) -> Row:
        taken = self._lines.taken
        fault = f"{len(fields)} fields where the header has {self.width}"
        for field in self._fields(taken):
            if self._are_rows(taken[field.first + 1 : field.last], taken[field.last]):
                return self._stray(field, fault)
        return Row(taken[0].number, fields, fault, "\x1f".join(fields))

    def _broken(self, error: Exception) -> Row:
        """A row that csv refuses: the lines behind its quote as rows again, or each as a bad one."""
        taken = self._lines.taken
        self._behind_a_broken = self.width is not None
        fault = f"not CSV: {_words(error)}" + (f" (up to line {taken[-1].number})" if len(taken) > 1 else "")
        if taken[-1].text is None and len(taken) > 1:  # a line that is too long is a bad row of its own
            self._lines.back([taken.pop()])
        fields = self._fields(taken)
        unclosed = bool(fields) and fields[-1].end is None
        if self.width is not None and not unclosed:
            self._take_the_rest(taken)
            fields = fields or [_Field(0, 0, len(taken) - 1, None)]
        if len(taken) == 1 or self.width is None:
            return Row(taken[0].number, [], fault, taken[0].text)
        first = fields[-1].first
        behind = taken[first + 1 :]
        if self._are_rows(behind, None) if unclosed else self._are_rows(behind[:-1], behind[-1]):
            self._lines.back(behind)
        else:
            told = f"not read: it stands in the quoted field that line {taken[first].number} opens"
            self._bad.extend(Row(line.number, [], told, line.text) for line in behind)
        return Row(taken[0].number, [], fault, _joined(taken[: first + 1]))

    def _take_the_rest(self, taken: list[_Line]) -> None:
        """Where quotes are left open behind a fault: add the lines up to the next quote that stands alone, if any."""
        if _quotes(taken) % 2 == 0:
            return
        more: list[_Line] = []
        while len(more) < _LOOKED_AT and (line := self._lines.line_or_none()) is not None:
            more.append(line)
            if _quotes([line]) % 2:
                taken.extend(more)
                return
        self._lines.back(more)

    def _stray(self, field: _Field, fault: str) -> Row:
        """The lines up to the stray quote as one bad row; those behind it are read again."""
        taken = self._lines.taken
        self._lines.back(taken[field.first + 1 :])
        return Row(taken[0].number, [], fault, _joined(taken[: field.first + 1]))

    def _swallows(self, field: _Field, taken: Sequence[_Line]) -> bool:
        """Whether rows stand in a field that csv finds sound."""
        inner = taken[field.first + 1 : field.last]
        if self.width == 1:
            return self._single_lines and len(inner) >= _LONG_FIELD
        if len(inner) < _FEWEST_SWALLOWED or field.end is None:
            return False
        ends = (taken[field.first].text, field.opens), (taken[field.last].text, field.end)
        without_quotes = (str(text)[:at] + str(text)[at + 1 :] for text, at in ends)
        return all(map(self._is_row, without_quotes)) and self._share(inner) >= _MOST_ARE_ROWS

    def _are_rows(self, inner: Sequence[_Line], end: _Line | None) -> bool:
        """Whether the lines in a broken field are rows: most of the whole ones; where there are none, its last."""
        if self.width == 1 and not self._single_lines:
            return False
        if inner:
            return self._share(inner) > _HALF_ARE_ROWS
        return end is not None and self._is_row(end.text or "")

    @property
    def _single_lines(self) -> bool:
        """Whether the rows so far were a line each, and enough to tell."""
        return self._rows >= _FEWEST_ROWS and not self._of_lines

    def _share(self, lines: Sequence[_Line]) -> float:
        """How many of the lines that are not blank are rows."""
        texts = [line.text for line in lines if line.text is None or line.text.strip()]
        return sum(text is not None and self._is_row(text) for text in texts) / len(texts) if texts else 0.0

    def _is_row(self, line: str) -> bool:
        """Whether a line is a row on its own, written as rows are: no quote and no blank where a field begins."""
        try:
            (fields,) = csv.reader([line], delimiter=self.delimiter, strict=True)
        except (csv.Error, ValueError):
            return False
        plain = len(fields) == 1 or not any(field.startswith(" ") for field in fields[1:])
        return len(fields) == self.width and plain and self._quotes_are_doubled(line)

    def _quotes_are_doubled(self, line: str) -> bool:
        """Whether quotes stand around fields or are doubled in them, and nowhere else."""
        at, outside = 0, ""
        while (found := self._opening.search(line, at)) and (inside := _INSIDE.match(line, found.end())):
            outside += line[at : found.start()]
            at = inside.end()
        return '"' not in outside + line[at:]

    def _fields(self, lines: Sequence[_Line]) -> list[_Field]:
        """The quoted fields that run over line ends, and one that nothing ends."""
        found: list[_Field] = []
        opened: tuple[int, int] | None = None
        for number, line in enumerate(lines):
            text, at = line.text or "", 0
            while True:
                if opened is None:
                    start = self._opening.search(text, at)
                    if start is None:
                        break
                    opened, at = (number, start.start()), start.end()
                inside = _INSIDE.match(text, at)
                if inside is None:
                    break
                if number > opened[0]:
                    found.append(_Field(*opened, number, inside.end() - 1))
                opened, at = None, inside.end()
        if opened is not None:
            found.append(_Field(*opened, len(lines) - 1, None))
        return found


def _words(error: Exception) -> str:
    told = str(error)
    return "a carriage return stands outside of quotes" if told.startswith("new-line character") else told


def _joined(lines: Sequence[_Line]) -> str:
    return "".join(line.text or "" for line in lines)


def _quotes(lines: Sequence[_Line]) -> int:
    return _joined(lines).count('"')
