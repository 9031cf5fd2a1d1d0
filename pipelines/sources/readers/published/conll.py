"""conll: a token a line, its columns separated by tabs or white space, the first the token and the last its tag.

A blank line, one of white space, or -DOCSTART- ends a sentence, which is one row: the tokens joined by spaces, and the
entities of the tags (IOB1, IOB2, BIOES, BILOU) as spans. A sentence with a bad line is a row with that line's fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from core.cells.spans import of_tags, tag_fault, written
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import MAX_CHARS, files_of, numbered_lines, open_text

SUFFIXES = (".conll",)
COLUMNS = ("text", "spans")
_DOCUMENT = "-DOCSTART-"


@dataclass
class _Sentence:
    """The lines of a sentence so far. first: the number of its first one."""

    first: int
    tokens: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    chars: int = 0
    fault: str | None = None

    def add(self, number: int, line: str, fault: str | None) -> None:
        """Take the next line, with what is known to be wrong with it; behind the first fault nothing is kept."""
        self.chars += len(line)
        columns = line.split("\t") if "\t" in line else line.split()
        if self.chars > MAX_CHARS:
            fault = f"a sentence of more than {MAX_CHARS:,} characters: no blank line ends it"
        elif not fault:
            token, tag = columns[0].strip(), columns[-1].strip()
            fault = tag_fault(token, tag) if columns[1:] else "one column, where a token and a tag are meant"
        if self.fault is None:
            self.lines.append(line)
            self.fault = f"line {number}: {fault}" if fault else None
        if self.fault is None:
            self.tokens.append(token)
            self.tags.append(tag)

    def record(self, name: str) -> Record:
        place = f"{name}:{self.first}"
        if self.fault:
            return Record({}, place, fault=self.fault, raw="\n".join(self.lines))
        text, spans = of_tags(self.tokens, self.tags)
        return Record({"text": text, "spans": written(spans)}, place)


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    for found in files_of(files, SUFFIXES):
        with open_text(found, data.encoding) as file:
            yield Table(found.name, COLUMNS, _records(file, found, data.encoding))


def _records(file: IO[str], found: Found, encoding: str) -> Iterator[Record]:
    sentence: _Sentence | None = None
    for number, line, fault in numbered_lines(file, found, encoding):
        if fault or (line.strip() and not line.startswith(_DOCUMENT)):
            sentence = sentence or _Sentence(number)
            sentence.add(number, line, fault)
        elif sentence is not None:
            yield sentence.record(found.name)
            sentence = None
    if sentence is not None:
        yield sentence.record(found.name)
