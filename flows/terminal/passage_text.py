"""Passages and answers for a person in a terminal: tables in columns, code in its lines, a rule where a page ends."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pipelines.search.text.row_blocks import Rows, row_blocks
from pipelines.search.text.sections import below_headings

if TYPE_CHECKING:
    from pipelines.search.ask.answer import Answer
    from pipelines.search.ask.citations import Citation
    from pipelines.search.ask.query import Passage

WIDTH = 110
_INDENT = "   "
_MOST_CELL = 40  # columns of the terminal: a table with wider cells is shown in its own lines


def passage_lines(rank: int, passage: Passage) -> list[str]:
    page = f", page {passage.page}" if passage.page is not None else ""
    head = f"{rank}. {passage.score:.3f}  {passage.document}{page}{_also(passage)}  {passage.heading}".rstrip()
    return [head, *text_lines(_below_headings(passage), passage.page), ""]


def answer_lines(told: Iterable[str | Answer]) -> Iterator[str]:
    """An answer, a line a sentence as they come, and what its citations point at."""
    for each in told:
        if isinstance(each, str):
            yield from textwrap.wrap(each.strip(), width=WIDTH)
            continue
        if each.reason:
            yield f"({each.reason})"
        cited = [citation for said in each.sentences for citation in said.citations]
        for number in sorted({citation.number for citation in cited}):
            found = each.passages[number - 1]
            yield f"[{number}] {found.document}{_pages(cited, number)}{_also(found)}  {found.heading}".rstrip()
        if each.dropped:
            yield f"({len(each.dropped)} of the model's sentences left out: no passage supports them)"


def _pages(cited: Iterable[Citation], number: int) -> str:
    """The pages on which the quotes of a passage stand."""
    pages = sorted({each.page for each in cited if each.number == number and each.page is not None})
    named = ", ".join(map(str, pages))
    return f", page{'s' if len(pages) > 1 else ''} {named}" if pages else ""


def _also(passage: Passage) -> str:
    """The other documents that have the same text."""
    others = len(passage.copies) - 1
    return f" (also {passage.copies[0]}{f' and {others} more' if others else ''})" if passage.copies else ""


def _below_headings(passage: Passage) -> str:
    """The text without the lines that the heading has said, each page's end in its place; all of it if that is all."""
    below = below_headings(passage.heading, passage.text)
    above = passage.text[: len(passage.text) - len(below)]
    return "\f" * above.count("\f") + below if below else passage.text


def text_lines(text: str, page: int | None) -> Iterator[str]:
    """The text of a passage that starts on this page."""
    for at, part in enumerate(text.split("\f")):
        if at and part.strip():
            yield f"{_INDENT}{f' page {(page or 1) + at} ':─^{WIDTH - len(_INDENT)}}"
        yield from _page(part)


def _page(text: str) -> Iterator[str]:
    at = 0
    for block in row_blocks(text):
        yield from _prose(text[at : block.start])
        yield from (f"{_INDENT}{line}".rstrip() for line in _rows(text, block))
        at = block.end
    yield from _prose(text[at:])


def _prose(text: str) -> Iterator[str]:
    for paragraph in text.split("\n\n"):
        yield from textwrap.wrap(paragraph.strip(), WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)


def _rows(text: str, block: Rows) -> Sequence[str]:
    lines = [line for start, end in block.rows for line in text[start:end].split("\n")]
    mark = next((mark for mark in ("|", "\t") if all(mark in line for line in lines)), None)
    if mark is None:
        return [line.expandtabs(4) for line in lines]
    table = [
        [cell.strip() for cell in (line.strip().strip("|") if mark == "|" else line).split(mark)] for line in lines
    ]
    table = [row for row in table if any(cell.strip("-: ") for cell in row)]
    widths = [max(len(row[at]) for row in table if at < len(row)) for at in range(max(map(len, table), default=0))]
    if max(widths, default=0) > _MOST_CELL or sum(widths) + 2 * len(widths) > WIDTH:
        return [" | ".join(row) for row in table]
    shown = ["  ".join(f"{cell:<{widths[at]}}" for at, cell in enumerate(row)).rstrip() for row in table]
    return [*shown[:1], "─" * len(shown[0]), *shown[1:]] if block.head and shown else shown
