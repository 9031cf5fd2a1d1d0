"""A page -> its tree by the rules of HTML5, which Lexbor keeps and libxml2 does not.

libxml2 leaves a <header> open to which a <div> inside it is not closed: the page would be swallowed by its own head.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bs4 import BeautifulSoup
from bs4.builder import HTMLTreeBuilder
from selectolax.lexbor import LexborHTMLParser, LexborNode

_XML = re.compile(r"\s*<\?xml|<html[^>]+xmlns\s*=", re.IGNORECASE)
_XML_HEAD_CHARS = 4096
_EMPTY_IN_XML = re.compile(
    r"<((?!(?:area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr)\b)[a-z][\w:-]*)"
    r"((?:\s+[\w:.-]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'))?)*)\s*/>",
    re.IGNORECASE,
)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_SHADOW = re.compile(
    r"<template\b(?=[^>]*\bshadowroot(?:mode)?\s*=)[^>]*>(.*?)</template\s*>", re.DOTALL | re.IGNORECASE
)


def tree(page: str) -> BeautifulSoup:
    """The tree of a page. What XML closes in passing (<title/>) is closed; shadow roots stand as their content."""
    if _XML.search(page[:_XML_HEAD_CHARS]):
        page = _EMPTY_IN_XML.sub(r"<\1\2></\1>", page)
        page = _CDATA.sub(lambda found: found[1].replace("&", "&amp;").replace("<", "&lt;"), page)
    return BeautifulSoup(_SHADOW.sub(r"<div>\1</div>", page), builder=_Lexbor())


class _Lexbor(HTMLTreeBuilder):  # type: ignore[misc]
    """Builds BeautifulSoup's tree from Lexbor's."""

    NAME = "lexbor"
    features: Iterable[str] = ()
    TRACKS_LINE_NUMBERS = False

    def feed(self, markup: str | bytes) -> None:
        root = LexborHTMLParser(markup).root
        open_nodes: list[LexborNode] = []
        node = root
        while node is not None:
            self._open(node)
            open_nodes.append(node)
            following = node.child
            while following is None and open_nodes:
                last = open_nodes.pop()
                self._close(last)
                following = last.next if open_nodes else None
            node = following

    def _open(self, node: LexborNode) -> None:
        if node.is_text_node:
            self.soup.handle_data(node.text_content or "")
        elif node.is_element_node:
            attributes = {name: value or "" for name, value in node.attributes.items()}
            self.soup.handle_starttag(node.tag or "", None, None, attributes)

    def _close(self, node: LexborNode) -> None:
        if node.is_element_node:
            self.soup.handle_endtag(node.tag or "")
