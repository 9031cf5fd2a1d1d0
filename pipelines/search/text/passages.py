"""A document -> passages: cut by the embedder's tokens, at the ends of sentences and rows, below their headings.

Cuts are chosen by content, not by counting from the start, so an edit moves the cuts near it and no others: within
the last three fifths of what fits, an empty line wins, then the sentence whose hash is lowest. From the first cut that
falls where it fell before, all later passages are the same (content-defined chunking: Muthitacharoen 2001).

Rows of tables, logs, code and settings are cut at their ends only. A piece that begins inside a table begins with the
table's head row. A single row that is longer than a passage is cut between its cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.search.text.long_sentences import parts_of, pieces, row_parts, weight
from pipelines.search.text.row_blocks import Rows, row_blocks
from pipelines.search.text.sections import Section, below_headings, sections
from pipelines.search.text.sentences import Span, paragraph_ends, sentences

if TYPE_CHECKING:
    from pipelines.search.vectors.token_reader import Reader

VERSION = 4  # of the rules of this file: other passages from the same text need another number
_EARLIEST = 2 / 5  # of what fits: a passage is at least that full, unless its section ends
_HEADING_SHARE = 4  # a heading takes at most a quarter of a passage's tokens
_HEAD_SHARE = 2  # a table's head row that takes more than half of a passage's tokens is not repeated


@dataclass(frozen=True)
class Passage:
    """document[start:end], and how many tokens it has with its heading and the special ones.

    head: of a table's head row, where the passage begins below it.
    """

    start: int
    end: int
    heading: str
    tokens: int
    head: Span | None = None

    def text(self, document: str) -> str:
        return _joined(document, self.head, self.start, self.end)


@dataclass(frozen=True)
class _Unit:
    """A sentence, a row, or a part of one that alone is longer than a passage.

    head: of its table, which a passage that begins here has before it; head_tokens: how many tokens that costs.
    """

    start: int
    end: int
    tokens: int
    strength: tuple[bool, bytes]  # of the border after it; lower is stronger
    head: Span | None = None
    head_tokens: int = 0


def embedded(heading: str, text: str) -> str:
    """What is embedded for a passage: its heading tells a model what it is about. No heading stands in it twice."""
    if not heading:
        return text
    below = below_headings(heading, text)
    return f"{heading}\n{below}" if below else heading


def passages(
    text: str, reader: Reader, *, tokens: int, overlap: int, title: str = "", markdown: bool = False,
    lines: bool = False,
) -> list[Passage]:  # fmt: skip
    """Cut a document.

    tokens: at most so many a passage, its heading and the special tokens included. overlap: at most so many tokens
    of whole sentences or rows stand in two neighbours. title: of the document, where it is known; else a first line
    that looks like one. lines: it is a file of code, a log or settings. Every letter of the text stands in a passage.
    """
    below = sections(text, title=title, markdown=markdown, lines=lines)
    return [passage for section in below for passage in _cut(text, section, reader, tokens, overlap, lines=lines)]


def _joined(text: str, head: Span | None, start: int, end: int) -> str:
    return text[start:end] if head is None else f"{text[slice(*head)]}\n{text[start:end]}"


def _cut(text: str, section: Section, reader: Reader, tokens: int, overlap: int, *, lines: bool) -> Iterator[Passage]:
    heading = _shortened(section.heading, reader, tokens // _HEADING_SHARE)
    start = section.start if heading == section.heading else section.opening  # a heading cut short is text as well
    budget = tokens - reader.special - (reader.lengths([heading], special=False)[0] if heading else 0)
    while True:
        units = _units(text, start, section.end, reader, budget, lines=lines)
        found = _packed(units, budget, min(overlap, budget // 2))
        spans = [(units[first].start, units[cut - 1].end, units[first].head) for first, cut in found]
        spans = _opened(text, section, start, spans)
        lengths = reader.lengths([embedded(heading, _joined(text, head, first, end)) for first, end, head in spans])
        beyond = max(lengths, default=0) - tokens
        if beyond <= 0 or budget <= 1:
            break
        budget = max(1, budget - beyond)  # a tokenizer whose tokens reach across words: joined, the parts count more
    for (first, end, head), length in zip(spans, lengths, strict=True):
        yield Passage(first, end, heading, length, head)


def _opened(
    text: str, section: Section, start: int, spans: list[tuple[int, int, Span | None]]
) -> list[tuple[int, int, Span | None]]:
    """The first passage begins with the section's heading lines; a section that has no more is a passage."""
    opening = text[section.opening : start]
    if not opening.strip():
        return spans
    begin = section.opening + len(opening) - len(opening.lstrip())
    if not spans:
        return [(begin, section.opening + len(opening.rstrip()), None)]
    return [(begin, spans[0][1], None), *spans[1:]]


def _shortened(heading: str, reader: Reader, limit: int) -> str:
    if not heading or reader.lengths([heading], special=False)[0] <= limit:
        return heading
    fits = heading[: reader.spans(heading)[limit][0]]
    return (fits.rpartition(" ")[0] or fits).rstrip()


def _units(text: str, start: int, end: int, reader: Reader, budget: int, *, lines: bool) -> list[_Unit]:
    body = text[start:end]
    paragraphs = paragraph_ends(body)
    units: list[_Unit] = []
    at = 0
    for block in row_blocks(body, lines=lines):
        units += _sentence_units(body, at, block.start, paragraphs, reader, budget)
        units += _row_units(body, block, paragraphs, reader, budget)
        at = block.end
    units += _sentence_units(body, at, len(body), paragraphs, reader, budget)
    return [_moved(unit, start) for unit in units] if start else units


def _moved(unit: _Unit, by: int) -> _Unit:
    head = unit.head and (unit.head[0] + by, unit.head[1] + by)
    return _Unit(unit.start + by, unit.end + by, unit.tokens, unit.strength, head, unit.head_tokens)


def _sentence_units(
    body: str, begin: int, until: int, paragraphs: set[int], reader: Reader, budget: int
) -> Iterator[_Unit]:
    text = body[begin:until]
    spans = [(begin + a, begin + b) for sentence in sentences(text) for a, b in pieces(text, *sentence)]
    lengths = reader.lengths([body[start:end] for start, end in spans], special=False)
    for (start, end), tokens in zip(spans, lengths, strict=True):
        length = weight(tokens, end - start)
        parts = [(start, end, length)] if length <= budget else parts_of(body, start, end, reader, budget)
        for first, last, counted in parts:
            yield _Unit(first, last, counted, _strength(body, first, last, last == end and end in paragraphs))


def _row_units(body: str, block: Rows, paragraphs: set[int], reader: Reader, budget: int) -> Iterator[_Unit]:
    lengths = reader.lengths([body[start:end] for start, end in block.rows], special=False)
    head = block.head
    cost = reader.lengths([body[slice(*head)]], special=False)[0] if head else 0
    if cost > budget // _HEAD_SHARE:
        head, cost = None, 0
    for (start, end), tokens in zip(block.rows, lengths, strict=True):
        is_head = block.head is not None and start <= block.head[0]
        own, room = (None, budget) if is_head else (head, budget - cost)
        length = weight(tokens, end - start)
        parts = [(start, end, length)] if length <= room else row_parts(body, start, end, reader, room)
        for first, last, counted in parts:
            strength = _strength(body, first, last, last == end and end in paragraphs)
            yield _Unit(first, last, counted, _WEAKEST if is_head else strength, own, cost if own else 0)


_WEAKEST = (True, b"\xff" * 33)  # of the border behind a head row


def _strength(body: str, first: int, last: int, ends_paragraph: bool) -> tuple[bool, bytes]:
    return not ends_paragraph, hashlib.sha256(body[first:last].encode("utf-8", "surrogatepass")).digest()


def _packed(units: list[_Unit], budget: int, overlap: int) -> list[Span]:
    """Runs of units: the first of each, and the one after its last."""
    spans: list[Span] = []
    first = cut = 0
    while cut < len(units):
        fits = _fitting(units, first, budget)
        cut = fits if fits == len(units) else _strongest(units, first, max(cut + 1, first + 1), fits, budget)
        spans.append((first, cut))
        first = _overlapping(units, first, cut, budget, overlap)
    return spans


def _fitting(units: list[_Unit], first: int, budget: int) -> int:
    """The end of the longest run from `first` that fits; at least one unit."""
    total, end = units[first].tokens + units[first].head_tokens, first + 1
    while end < len(units) and total + units[end].tokens <= budget:
        total, end = total + units[end].tokens, end + 1
    return end


def _strongest(units: list[_Unit], first: int, earliest: int, latest: int, budget: int) -> int:
    """The border, between those where the run from `first` is full enough and where it is full, to cut at."""
    total = sum(unit.tokens for unit in units[first:latest]) + units[first].head_tokens
    candidates = [latest]
    for end in range(latest - 1, earliest - 1, -1):
        total -= units[end].tokens
        if total < budget * _EARLIEST:
            break
        candidates.append(end)
    return min(candidates, key=lambda end: units[end - 1].strength)


def _overlapping(units: list[_Unit], first: int, cut: int, budget: int, overlap: int) -> int:
    """Where the next run begins: whole units before the cut, as long as a new one fits beside them."""
    if cut == len(units):
        return cut
    begin, total = cut, 0
    while begin - 1 > first:
        total += units[begin - 1].tokens
        if total > overlap or total + units[begin - 1].head_tokens + units[cut].tokens > budget:
            break
        begin -= 1
    return begin
