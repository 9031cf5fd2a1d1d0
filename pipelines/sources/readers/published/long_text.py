"""long_text: one long text a file, as a book, in pieces of whole paragraphs: a row a piece, in the text's order.

`piece` numbers them through all files from 0, so that `split: {time: piece}` keeps the end of the text for the test.
The pieces of a file, one behind the other, are its text; line ends become "\\n".
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import BLANK, Lines, TooLong, files_of, not_text, open_text, readable

SUFFIXES = ()  # a .txt file is one document unless `reader: long_text` says so
COLUMNS = ("text", "piece")
_NAMES = (".txt", ".text", ".md")
ENOUGH_CHARS, MOST_CHARS = 1000, 2000  # a piece ends at the next blank line, or at the next line


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    numbers = count()
    for found in files_of(files, _NAMES):
        yield Table(found.name, COLUMNS, _records(found, data.encoding, numbers))


def _records(found: Found, encoding: str, numbers: Iterator[int]) -> Iterator[Record]:
    """The pieces; one of blank lines alone is left out, and a line that cannot be read is a row with that fault."""
    for first, text, fault in _pieces(found, encoding):
        place = f"{found.name}:{first}"
        if fault := fault or not_text(text, encoding):
            yield Record({}, place, fault=fault, raw=text)
        elif text.strip():
            yield Record({"text": text, "piece": next(numbers)}, place)
        else:
            yield Record({}, place, left_out=BLANK)


def _pieces(found: Found, encoding: str) -> Iterator[tuple[int, str, str | None]]:
    """Each piece: the number of its first line, its text, and what is wrong with it or None."""
    with open_text(found, encoding) as file:
        lines, piece, first, chars = Lines(file), list[str](), 1, 0
        while True:
            line, fault = "", None
            try:
                with readable(found, encoding):
                    line = next(lines)
            except StopIteration:
                break
            except TooLong as error:
                fault = str(error)
            piece.append(line.rstrip("\r\n") + "\n" if line.endswith(("\r", "\n")) else line)
            chars += len(line)
            if fault or chars >= MOST_CHARS or (chars >= ENOUGH_CHARS and not line.strip()):
                yield first, "".join(piece), fault
                piece, first, chars = [], lines.number + 1, 0
        if piece:
            yield first, "".join(piece), None
