"""HTML -> Markdown, without what is not the page's own text: scripts, styles, navigation, page heads and feet."""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag
from markdownify import ATX, MarkdownConverter

from pipelines.sources._opening import MAX_CHARS
from pipelines.sources.parsers import Parsed, Unreadable

_NOT_TEXT = frozenset(
    [
        *("script", "style", "noscript", "template", "head", "nav", "svg", "canvas", "math", "iframe", "object"),
        *("embed", "audio", "video", "img", "button", "input", "select", "textarea", "dialog"),
    ]
)
_NOT_TEXT_ROLES = frozenset(("navigation", "banner", "contentinfo", "search"))
_MARKS = ["a", "b", "strong", "em", "i", "u", "s", "del", "ins", "sub", "sup", "mark", "small", "code"]
_DECLARED = re.compile(rb"<(?:meta[^>]+charset|\?xml[^>]+encoding)\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_HEAD_BYTES = 1024
# What browsers take these names for (WHATWG, Encoding): the first is a subset; the second cannot be read by its meta.
_MEANT = {"iso-8859-1": "cp1252", "latin1": "cp1252", "us-ascii": "cp1252", "ascii": "cp1252", "utf-16": "utf-8"}
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_EMPTY_LINES = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")


def parse(content: bytes, encoding: str) -> Parsed:
    """encoding: of a page that does not declare its own. Raises Unreadable."""
    return of_text(_decoded(content, encoding))


def of_text(page: str) -> Parsed:
    if len(page) > MAX_CHARS:
        raise Unreadable(f"longer than {MAX_CHARS:,} characters")
    soup = BeautifulSoup(page, "lxml")
    title = _title(soup)
    for tag in soup.find_all(_is_no_text):
        tag.decompose()
    main = soup.find_all(lambda tag: tag.name == "main" or tag.get("role") == "main")
    return Parsed(_markdown(main[0] if len(main) == 1 else soup), title)


def _is_no_text(tag: Tag) -> bool:
    if tag.name in ("header", "footer"):  # of the page; an article's own holds its heading
        return tag.find_parent(["article", "main", "section"]) is None
    hidden = tag.has_attr("hidden") or tag.get("aria-hidden") == "true"
    return tag.name in _NOT_TEXT or tag.get("role") in _NOT_TEXT_ROLES or hidden


def _markdown(tag: Tag | BeautifulSoup) -> str:
    made = MarkdownConverter(
        heading_style=ATX, bullets="-", strip=_MARKS, escape_asterisks=False, escape_underscores=False
    ).convert_soup(tag)
    lines = "\n".join(line.rstrip() for line in str(made).replace("\f", " ").split("\n"))
    return _EMPTY_LINES.sub("\n\n", lines).strip() + "\n"


def _title(soup: BeautifulSoup) -> str:
    """<title>; where it repeats the page's only heading and adds the site's name, that heading."""
    named = soup.title.get_text(" ", strip=True) if soup.title else ""
    headings = [" ".join(tag.get_text(" ", strip=True).split()) for tag in soup.find_all("h1")]
    if len(headings) == 1 and headings[0].casefold() in named.casefold():
        return headings[0]
    return " ".join(named.split())


def _decoded(content: bytes, encoding: str) -> str:
    marked = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), None)
    declared = _DECLARED.search(content[:_HEAD_BYTES])
    name = declared[1].decode("ascii").lower() if declared else encoding
    name = marked or _MEANT.get(name, name)
    try:
        return content.decode(name)
    except UnicodeDecodeError as error:
        raise Unreadable(f"not {name.upper()} (byte {error.start})") from None
    except LookupError:
        raise Unreadable(f"its encoding {name!r} is not known") from None
