"""The blocks of a text as CommonMark has them, with tables; what stands inside of them is left as it is."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token


def blocks(text: str, *, html: bool) -> list[Token]:
    """html: whether HTML begins blocks of its own, or is text."""
    return _parser(html).parse(text.replace("\0", " "))


@cache
def _parser(html: bool) -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": html}).enable("table")
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser
