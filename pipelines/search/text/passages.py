"""A document -> passages: cut by the embedder's tokens, at the ends of sentences, below their headings.

Cuts are chosen by content, not by counting from the start, so an edit moves the cuts near it and no others: within
the last three fifths of what fits, an empty line wins, then the sentence whose hash is lowest. From the first cut that
falls where it fell before, all later passages are the same (content-defined chunking: Muthitacharoen 2001).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.search.text.long_sentences import parts_of, pieces, weight
from pipelines.search.text.sentences import Span, paragraph_ends, sentences

if TYPE_CHECKING:
    from pipelines.search.vectors.token_reader import Reader

VERSION = 3  # of the rules of this file: other passages from the same text need another number
_EARLIEST = 2 / 5  # of what fits: a passage is at least that full, unless its section ends
_TITLE_CHARS, _TITLE_WORDS = 120, 20
_HEADING_SHARE = 4  # a heading takes at most a quarter of a passage's tokens
_MARKDOWN_HEADING = re.compile(r"(#{1,6})[ \t]+(.*?)[ \t]*#*$")
_FENCE = re.compile(r"\s*(```|~~~)")


@dataclass(frozen=True)
class Passage:
    """document[start:end], and how many tokens it has with its heading and the special ones."""

    start: int
    end: int
    heading: str
    tokens: int


@dataclass(frozen=True)
class Section:
    heading: str
    start: int
    end: int


@dataclass(frozen=True)
class _Unit:
    """A sentence, or a part of one that alone is longer than a passage."""

    start: int
    end: int
    tokens: int
    strength: tuple[bool, bytes]  # of the border after it; lower is stronger


def embedded(heading: str, text: str) -> str:
    """What is embedded for a passage: its heading tells a model what it is about."""
    return f"{heading}\n{text}" if heading else text


def passages(
    text: str, reader: Reader, *, tokens: int, overlap: int, title: str = "", markdown: bool = False
) -> list[Passage]:
    """Cut a document.

    tokens: at most so many a passage, its heading and the special tokens included. overlap: at most so many tokens
    of whole sentences stand in two neighbours. title: of the document, where it is known; else a first line that
    looks like one. Every letter of the text stands in a passage, headings and titles aside.
    """
    below = sections(text, title=title, markdown=markdown)
    return [passage for section in below for passage in _cut(text, section, reader, tokens, overlap)]


def sections(text: str, *, title: str = "", markdown: bool = False) -> list[Section]:
    """The parts of a document that stand below a heading each; a passage never crosses from one to the next."""
    parts = list(_markdown(text, title) if markdown else _plain(text, title))
    parts = [part for part in parts if text[part.start : part.end].strip()]
    return parts or ([Section("", 0, len(text))] if text.strip() else [])


def _plain(text: str, title: str) -> Iterator[Section]:
    lead = len(text) - len(text.lstrip())
    line, _, rest = text[lead:].partition("\n")
    line = line.strip()
    goes_on = rest[:1].islower()  # a paragraph whose lines were broken, as a PDF's are
    if title:
        same = line.casefold() == title.strip().casefold()
        yield Section(title.strip(), len(text) - len(rest) if same and rest.strip() else 0, len(text))
    elif rest.strip() and _is_title(line) and not goes_on:
        yield Section(line, len(text) - len(rest), len(text))
    else:
        yield Section("", 0, len(text))


def _is_title(line: str) -> bool:
    """Short, and not the first sentence of a text."""
    short = len(line) <= _TITLE_CHARS and len(line.split()) <= _TITLE_WORDS
    return bool(line) and short and not line.endswith((".", ",", ";", ":", "。", "，", "；", "："))


def _markdown(text: str, title: str) -> Iterator[Section]:
    path: list[tuple[int, str]] = []
    start, at, fence = 0, 0, ""
    for line in text.splitlines(keepends=True):
        mark = _FENCE.match(line)
        if mark and fence in ("", mark.group(1)):
            fence = "" if fence else mark.group(1)
        heading = None if fence else _MARKDOWN_HEADING.match(line.rstrip("\r\n"))
        if heading:
            yield Section(_joined(title, path), start, at)
            depth = len(heading.group(1))
            path = [*[step for step in path if step[0] < depth], (depth, heading.group(2))]
            start = at + len(line)
        at += len(line)
    yield Section(_joined(title, path), start, at)


def _joined(title: str, path: list[tuple[int, str]]) -> str:
    names = [name for _, name in path if name]
    if title and (not names or names[0].casefold() != title.casefold()):
        names.insert(0, title)
    return " > ".join(names)


def _cut(text: str, section: Section, reader: Reader, tokens: int, overlap: int) -> list[Passage]:
    heading = _shortened(section.heading, reader, tokens // _HEADING_SHARE)
    budget = tokens - reader.special - (reader.lengths([heading], special=False)[0] if heading else 0)
    while True:
        units = _units(text, section, reader, budget)
        spans = _packed(units, budget, min(overlap, budget // 2))
        lengths = reader.lengths([embedded(heading, text[start:end]) for start, end in spans])
        beyond = max(lengths, default=0) - tokens
        if beyond <= 0 or budget <= 1:
            break
        budget = max(1, budget - beyond)  # a tokenizer whose tokens reach across words: joined, the parts count more
    return [Passage(start, end, heading, length) for (start, end), length in zip(spans, lengths, strict=True)]


def _shortened(heading: str, reader: Reader, limit: int) -> str:
    if not heading or reader.lengths([heading], special=False)[0] <= limit:
        return heading
    fits = heading[: reader.spans(heading)[limit][0]]
    return (fits.rpartition(" ")[0] or fits).rstrip()


def _units(text: str, section: Section, reader: Reader, budget: int) -> list[_Unit]:
    body = text[section.start : section.end]
    spans = [piece for sentence in sentences(body) for piece in pieces(body, *sentence)]
    lengths = reader.lengths([body[start:end] for start, end in spans], special=False)
    paragraphs = paragraph_ends(body)
    units: list[_Unit] = []
    for (start, end), tokens_of_it in zip(spans, lengths, strict=True):
        length = weight(tokens_of_it, end - start)
        parts = [(start, end, length)] if length <= budget else parts_of(body, start, end, reader, budget)
        for first, last, tokens in parts:
            strength = (
                not (last == end and end in paragraphs),
                hashlib.sha256(body[first:last].encode("utf-8", "surrogatepass")).digest(),
            )
            units.append(_Unit(section.start + first, section.start + last, tokens, strength))
    return units


def _packed(units: list[_Unit], budget: int, overlap: int) -> list[Span]:
    spans: list[Span] = []
    first = cut = 0
    while cut < len(units):
        fits = _fitting(units, first, budget)
        cut = fits if fits == len(units) else _strongest(units, first, max(cut + 1, first + 1), fits, budget)
        spans.append((units[first].start, units[cut - 1].end))
        first = _overlapping(units, first, cut, budget, overlap)
    return spans


def _fitting(units: list[_Unit], first: int, budget: int) -> int:
    """The end of the longest run from `first` that fits; at least one unit."""
    total, end = units[first].tokens, first + 1
    while end < len(units) and total + units[end].tokens <= budget:
        total, end = total + units[end].tokens, end + 1
    return end


def _strongest(units: list[_Unit], first: int, earliest: int, latest: int, budget: int) -> int:
    """The border, between those where the run from `first` is full enough and where it is full, to cut at."""
    total = sum(unit.tokens for unit in units[first:latest])
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
        if total > overlap or total + units[cut].tokens > budget:
            break
        begin -= 1
    return begin
