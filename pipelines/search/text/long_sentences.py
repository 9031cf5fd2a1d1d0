"""A sentence that alone is longer than a passage -> parts. Text without any border is cut here, in any script.

A cut is chosen by what stands around it, not by counting alone, so that after an edit later cuts fall where they fell.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING
from zlib import crc32

from pipelines.search.text.row_blocks import cells
from pipelines.search.text.sentences import Span

if TYPE_CHECKING:
    from pipelines.search.vectors.token_reader import Reader

# A token of prose has four or five characters. One that has more than this stands for letters that the embedder does
# not know (one token for a page of Thai): such text is measured by its characters.
_CHARS_A_TOKEN = 10
_LONGEST_CHARS = 10_000  # of a sentence that is tokenised at once
_CLAUSE = frozenset(",;:，、；：、،؛—")
_OPENERS, _CLOSERS = frozenset("([{“‘«「『【（《〈"), frozenset(")]}”’»」』】）》〉,.;:!?，。、；：！？…ー々ゝゞ")
_BEFORE_ITS_CONSONANT = frozenset("เแโใไ")  # Thai vowels, written before what they are spoken after


def weight(tokens: int, chars: int) -> int:
    """How much a text counts: its tokens, or its characters where the embedder does not know them."""
    return max(tokens, -(-chars // _CHARS_A_TOKEN))


def pieces(body: str, start: int, end: int) -> Iterator[Span]:
    """A sentence in pieces that a tokenizer takes whole; nearly always one."""
    while end - start > _LONGEST_CHARS:
        last = start + _LONGEST_CHARS
        whole = [at for at in range(last - _LONGEST_CHARS // 10, last) if not _tears(body, at)]
        cut = min(whole, key=lambda at: _border(body, at), default=last)
        yield start, start + len(body[start:cut].rstrip())
        start = cut + len(body[cut:end]) - len(body[cut:end].lstrip())
    yield start, end


def parts_of(body: str, start: int, end: int, reader: Reader, budget: int) -> list[tuple[int, int, int]]:
    """A sentence longer than a passage: cut behind a clause, else before a word, else where nothing is torn."""
    stops = list(_stops(body[start:end], reader))
    parts, first = [], 0
    while stops[-1][1] - stops[first][1] > budget and first + 2 < len(stops):
        at, before = stops[first]
        cut = min(_reach(stops, first, budget), key=lambda n: _border(body, start + stops[n][0]))
        text = body[start + at : start + stops[cut][0]].rstrip()
        parts.append((start + at, start + at + len(text), stops[cut][1] - before))
        first = cut
    return [*parts, (start + stops[first][0], end, stops[-1][1] - stops[first][1])]


def row_parts(body: str, start: int, end: int, reader: Reader, budget: int) -> list[tuple[int, int, int]]:
    """A row longer than a passage: cut between its cells, and inside of a cell only where that alone is too long."""
    parts: list[tuple[int, int, int]] = []
    for first, last in cells(body[start:end]):
        begin, stop = start + first, start + len(body[start : start + last].rstrip())
        tokens = weight(reader.lengths([body[begin:stop]], special=False)[0], stop - begin)
        if stop <= begin:
            continue
        if tokens > budget:
            parts += [part for piece in pieces(body, begin, stop) for part in parts_of(body, *piece, reader, budget)]
        elif parts and parts[-1][2] + tokens <= budget:
            parts[-1] = (parts[-1][0], stop, parts[-1][2] + tokens)
        else:
            parts.append((begin, stop, tokens))
    return parts


def _reach(stops: list[tuple[int, int]], first: int, budget: int) -> list[int]:
    """The stops at which a part from `first` fits and is half full at least; the next one, when none fits."""
    before = stops[first][1]
    fits = list(takewhile(lambda n: stops[n][1] - before <= budget, range(first + 1, len(stops) - 1)))
    return [n for n in fits if (stops[n][1] - before) * 2 > budget] or fits[-1:] or [first + 1]


def _stops(sentence: str, reader: Reader) -> Iterator[tuple[int, int]]:
    """Where a sentence may be cut, and how many tokens stand before; its start and its end as well."""
    tokens = 0
    for first, last in reader.spans(sentence):
        for at in range(first, max(last, first + 1), _CHARS_A_TOKEN):
            if tokens == 0 or not _tears(sentence, at):
                yield (at if tokens else 0), tokens
            tokens += 1
    yield len(sentence), tokens


def _tears(text: str, at: int) -> bool:
    """Whether a cut would part what is one: a letter and its accent, an opening quote and what it opens."""
    before, after = text[at - 1], text[at]
    marks = unicodedata.category(after)[0] == "M" or "\u200d" in (before, after)
    return marks or before in _OPENERS or before in _BEFORE_ITS_CONSONANT or after in _CLOSERS


def _border(text: str, at: int) -> tuple[int, int]:
    """How good a place to cut: behind a clause, before a word, between letters, inside a word; then by content."""
    clause = text[max(0, at - 4) : at].rstrip()[-1:] in _CLAUSE
    inside = text[at - 1].isascii() and text[at - 1].isalnum() and text[at].isascii() and text[at].isalnum()
    kind = 0 if clause else 1 if text[at - 1].isspace() else 3 if inside else 2
    return kind, crc32(text[max(0, at - 8) : at + 8].encode("utf-8", "surrogatepass"))
