"""What of a passage can be quoted: its heading lines, its rows and its sentences, each by itself."""

from __future__ import annotations

from pipelines.search.text.row_blocks import row_blocks
from pipelines.search.text.sections import heading_lines
from pipelines.search.text.sentences import Span, sentences


def quotable(heading: str, text: str) -> list[Span]:
    """Start and end of each, in order; marks of headings and lines that only draw a table are left out."""
    found = heading_lines(heading, text)
    at = found[-1][1] if found else 0
    for block in row_blocks(text):
        if block.start < at:
            continue
        found += _sentences(text, at, block.start)
        for start, end in block.rows:
            row = text[start:end]
            head = row.partition("\n")[0] if block.head and start <= block.head[0] else row
            stripped = head.strip()
            if any(letter.isalnum() for letter in stripped):
                first = start + row.index(stripped)
                found.append((first, first + len(stripped)))
        at = block.end
    return found + _sentences(text, at, len(text))


def page_of(first: int | None, text: str, at: int) -> int | None:
    """The page on which a place in a passage's text stands. first: the passage's own; a form feed ends a page."""
    return None if first is None else first + text.count("\f", 0, at)


def _sentences(text: str, start: int, end: int) -> list[Span]:
    part = text[start:end]
    spans = [(start + a, start + b) for a, b in sentences(part)]
    return [(a, b) for a, b in spans if any(letter.isalnum() for letter in text[a:b])]
