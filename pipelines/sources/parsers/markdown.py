"""Markdown -> Markdown without HTML: what stands in tags is text, the tags are not. Code is left as it is.

markdown-it-py says which lines are HTML (CommonMark); those go through the parser of pages. Tags inside of a line go by
themselves: raised figures get their mark, struck-out text is no text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from markdown_it.token import Token

from pipelines.sources.parsers import Parsed, html
from pipelines.sources.parsers.commonmark import blocks

_CODE = r"(?P<ticks>(?<!`)`+(?!`)).+?(?<!`)(?P=ticks)(?!`)"
_KNOWN = (  # tags of HTML: `vector<int>` and `<your name>` are none
    "a|abbr|address|article|aside|audio|b|bdi|bdo|big|blockquote|body|br|button|canvas|caption|center|cite|code|col"
    "|colgroup|data|dd|del|details|dfn|div|dl|dt|em|figcaption|figure|font|footer|form|h[1-6]|head|header|hr|html|i"
    "|iframe|img|input|ins|kbd|label|legend|li|link|main|mark|meta|nav|noscript|ol|option|p|picture|pre|q|rp|rt|ruby|s"
    "|samp|script|section|select|small|source|span|strike|strong|style|sub|summary|sup|svg|table|tbody|td|template"
    "|textarea|tfoot|th|thead|time|title|tr|tt|u|ul|var|video|wbr"
)
_KNOWN_BLOCK = re.compile(rf"\s*(?:<!--|<\?|<!|</?(?:{_KNOWN})(?:[\s/>]|$))", re.IGNORECASE)
_INLINE = re.compile(
    rf"(?P<code>{_CODE})|(?P<struck><(?P<tag>del|s|strike)\b[^<>]*>.*?</(?P=tag)\s*>|~~(?=\S).+?(?<=\S)~~)"
    rf"|(?P<gone><!--.*?-->|<\?.*?\?>)|(?P<raised><sup\b[^<>]*>)|(?P<tags></?(?:{_KNOWN})(?:\s[^<>]*)?/?>)"
    r"|(?P<entity>&(?:\#\d{1,7}|\#x[0-9a-f]{1,6}|\w{2,31});)",
    re.DOTALL | re.IGNORECASE,
)
_APART = re.compile(r"</?(?:br|p|div|li|td|th|tr|hr|h[1-6]|summary|details)\b", re.IGNORECASE)
_MAY_HAVE = re.compile(r"[<&]|~~")


def of_text(text: str) -> Parsed:
    if not _MAY_HAVE.search(text):
        return Parsed(text)
    lines = text.split("\n")
    made: list[str] = []
    at = 0
    for kind, first, last in _blocks(lines):
        made += lines[at:first]
        block = "\n".join(lines[first:last])
        known = kind == "html_block" and _KNOWN_BLOCK.match(block)
        made.append(html.of_text(block).text.strip("\n") if known else _without_tags(block))
        at = last
    return Parsed("\n".join([*made, *lines[at:]]))


def _blocks(lines: list[str]) -> Iterator[tuple[str, int, int]]:
    """Kind, first line and the one after the last of each block that is HTML or may have some in its lines."""
    found: list[tuple[str, int, int]] = []
    for kind, first, last in _mapped(blocks("\n".join(lines), html=True)):
        if found and first < found[-1][2]:
            continue  # the cells of a row, after the first
        between = lines[found[-1][2] : first] if found else ["x"]
        if kind == "html_block" and found and found[-1][0] == kind and not "".join(between).strip():
            found[-1] = (kind, found[-1][1], last)
        else:
            found.append((kind, first, last))
    yield from found


def _mapped(tokens: list[Token]) -> Iterator[tuple[str, int, int]]:
    for token in tokens:
        if token.map and token.type in ("html_block", "inline"):
            first, last = token.map
            yield token.type, first, last


def _without_tags(text: str) -> str:
    return _INLINE.sub(_said, text) if _MAY_HAVE.search(text) else text


def _said(found: re.Match[str]) -> str:
    kind = found.lastgroup if found.lastgroup not in ("ticks", "tag") else "code" if found["code"] else "struck"
    if kind == "raised":
        return "^" if found.end() < len(found.string) and found.string[found.end()] in "0123456789+-−" else ""
    if kind == "entity":
        return unescape(found[0]).replace("\f", " ")
    if kind == "tags" and _APART.match(found[0]):
        return " "
    return found[0] if kind == "code" else ""
