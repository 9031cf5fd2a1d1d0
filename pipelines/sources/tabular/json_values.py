"""The values of a JSON text, one after the other, in memory that grows with the largest only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import IO, Any

_CHUNK_CHARS = 2**16
_WHITE = " \t\r\n"
_LONGEST_WORD = 10  # characters: -Infinity, cut


class Values(Iterator[tuple[str, Any]]):
    """Each value with its text: the elements of the array, where the text is one, or values with white space between.

    line: where the last value began, from 1. Raises ValueError (json.JSONDecodeError) where the text is no JSON or a
    value is longer than `most` characters, RecursionError for one nested too deeply.
    """

    def __init__(self, file: IO[str], most: int, *, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any]) -> None:
        self.line = 1
        self._file, self._most = file, most
        self._decoder = json.JSONDecoder(object_pairs_hook=object_pairs_hook)
        self._text, self._at = "", 0
        self._lines_before, self._counted = 0, 0  # line ends up to `_counted`, those that are forgotten among them
        self._array: bool | None = None
        self._first = True

    def __next__(self) -> tuple[str, Any]:
        mark = self._mark()
        if self._array is None:
            self._array = mark == "["
            self._at += self._array
            mark = self._mark() if self._array else mark
        if self._array and (mark == "]" or not self._first):
            mark = self._behind_an_element(mark)
        if not mark:
            if self._array:
                raise json.JSONDecodeError("the array is not closed", "", 0)
            raise StopIteration
        self._first = False
        self._count()
        self.line = self._lines_before + 1
        return self._value()

    def _behind_an_element(self, mark: str) -> str:
        """What stands where the next element begins. Raises StopIteration behind the last."""
        if mark == "]":
            self._at += 1
            if self._mark():
                raise json.JSONDecodeError("more text behind the array", "", 0)
            self._array, self._first = False, True
            raise StopIteration
        if mark and mark != ",":
            raise json.JSONDecodeError("expecting ',' between elements", "", 0)
        self._at += bool(mark)
        return self._mark()

    def _value(self) -> tuple[str, Any]:
        """The value that begins here; as much text is read as it needs."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                if end < len(self._text) or not self._more():  # a number may go on in the next chunk
                    text, self._at = self._text[self._at : end], end
                    return text, value
            except json.JSONDecodeError as error:
                if len(self._text) - self._at > self._most:
                    raise ValueError(f"a value of more than {self._most:,} characters") from None
                in_text = error.msg.startswith(("Unterminated", "Invalid \\"))  # its place is where the text began
                if (error.pos < len(self._text) - _LONGEST_WORD and not in_text) or not self._more():
                    raise

    def _mark(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _WHITE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read on, and forget what has been read already; False at the end of the file."""
        more = self._file.read(max(_CHUNK_CHARS, len(self._text) - self._at))
        self._count()
        self._counted = 0
        self._text, self._at = self._text[self._at :] + (more.removeprefix("\ufeff") if not self._text else more), 0
        return bool(more)

    def _count(self) -> None:
        self._lines_before += self._text.count("\n", self._counted, self._at)
        self._counted = self._at
