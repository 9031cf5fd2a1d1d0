"""HTML -> Markdown, without what is not the page's own text: scripts, styles, menus, page heads and feet, fields."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from bs4 import BeautifulSoup

from pipelines.sources._opening import MAX_CHARS
from pipelines.sources.parsers import Parsed, Unreadable, without_invisible
from pipelines.sources.parsers.web.boilerplate import drop_what_is_no_text, main_parts
from pipelines.sources.parsers.web.charsets import decoded
from pipelines.sources.parsers.web.html_tables import write_tables
from pipelines.sources.parsers.web.inline_marks import write_marks
from pipelines.sources.parsers.web.lexbor_tree import tree
from pipelines.sources.parsers.web.markdown_writer import markdown
from pipelines.sources.parsers.web.tags import matching, named

_ARTICLE = "application/ld+json"
_LITTLE = 0.5  # of the article that a page's script holds: with less text than that the script is the page


def parse(content: bytes, encoding: str, *, remove_boilerplate: bool = False) -> Parsed:
    """encoding: of a page that does not declare its own. remove_boilerplate: see core/schema/data.py.

    Raises Unreadable.
    """
    page = decoded(content, encoding)
    if "\0" in page[:1024]:
        raise Unreadable("holds NUL: a binary file that no parser here reads")
    found = of_text(page, remove_boilerplate=remove_boilerplate)
    odd = found.text.count("\ufffd")
    return replace(found, unread=f"{odd:,} characters that are not in its encoding (U+FFFD)" if odd else "")


def of_text(page: str, *, remove_boilerplate: bool = False) -> Parsed:
    if len(page) > MAX_CHARS:
        raise Unreadable(f"longer than {MAX_CHARS:,} characters")
    soup = tree(page)
    title, in_script = _title(soup), _article_in_script(soup)
    _open_frames(soup)
    write_marks(soup)
    drop_what_is_no_text(soup, remove_boilerplate=remove_boilerplate)
    write_tables(soup)
    text = markdown(main_parts(soup))
    if len(text) < _LITTLE * len(in_script) and in_script not in text:
        text = f"{text.strip()}\n\n{in_script}\n".lstrip()
    return Parsed(text, title)


def _title(soup: BeautifulSoup) -> str:
    """<title>; where it repeats the page's only heading and adds the site's name, that heading."""
    said = soup.title.get_text(" ", strip=True) if soup.title else ""
    headings = [" ".join(tag.get_text(" ", strip=True).split()) for tag in named(soup, ("h1",))]
    if len(headings) == 1 and headings[0] and headings[0].casefold() in said.casefold():
        return without_invisible(headings[0])
    return without_invisible(" ".join(said.split()))


def _open_frames(soup: BeautifulSoup) -> None:
    """A page of frames has its text in <noframes>, which a parser leaves as it is written."""
    if soup.body is None:
        for tag in named(soup, ("noframes",)):
            tag.replace_with(tree(tag.get_text()))


def _article_in_script(soup: BeautifulSoup) -> str:
    """The article that a page says for search engines (schema.org's articleBody); "" without one."""
    found: list[str] = []
    for tag in matching(soup, lambda tag: tag.name == "script" and tag.get("type") == _ARTICLE):
        with suppress(ValueError, RecursionError):
            found += _bodies(json.loads(tag.get_text(), strict=False))
    texts = (" ".join(BeautifulSoup(text, "lxml").get_text(" ").split()) for text in found)
    return "\n\n".join(dict.fromkeys(filter(None, texts)))


def _bodies(said: Any) -> Iterator[str]:
    if isinstance(said, dict):
        for name, value in said.items():
            if name == "articleBody" and isinstance(value, str):
                yield value
            else:
                yield from _bodies(value)
    elif isinstance(said, list):
        for each in said:
            yield from _bodies(each)
