"""What marks say that Markdown of plain words would lose: raised and lowered figures, struck words, notes, pictures.

Numbers never change their value: 10 with a raised 6 becomes "10^6", never "106"; what is struck out is no text.
"""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag

from pipelines.sources.parsers.web.mathml import as_text
from pipelines.sources.parsers.web.raised_marks import kind_of_style, write_raised
from pipelines.sources.parsers.web.tags import beside, classes, matching, named, part, put_text, standing

_STRUCK_NAMES = frozenset(("line-through", "text-decoration-line-through", "strikethrough", "strike-through"))
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_CLASS = re.compile(r"(?:[a-z]+)?\.([\w-]+)$", re.IGNORECASE)
_STYLES_CHARS = 2**20  # of style sheets in a page
_BACK = frozenset(("↑", "↩", "↩︎", "^", "¶", "#", "🔗", "⬆"))
_FORMULA = re.compile(r"katex|mathjax|math-element|math-inline|math-display", re.IGNORECASE)
_FILE = re.compile(r"\S+\.(?:jpe?g|png|gif|webp|svg|bmp|tiff?)", re.IGNORECASE)


def write_marks(soup: BeautifulSoup) -> None:
    """Turn marks into characters, in place."""
    raised = _by_class(soup)
    _drop_struck(soup, {name for name, kind in raised.items() if kind == "struck"})
    _write_rubies(soup)
    _write_formulas(soup)
    _write_pictures(soup)
    write_raised(soup, raised)
    _drop_ways_back(soup)
    _part_own_tags(soup)


def _by_class(soup: BeautifulSoup) -> dict[str, str]:
    """Classes that the page's style sheets say are struck out, raised or lowered."""
    found: dict[str, str] = {}
    sheets = " ".join(tag.get_text() for tag in named(soup, ("style",)))[:_STYLES_CHARS]
    for selectors, said in _RULE.findall(sheets):
        kind = kind_of_style(said)
        for selector in selectors.split(",") if kind else ():
            if name := _CLASS.match(selector.strip()):
                found[name[1]] = kind
    return found


def _drop_struck(soup: BeautifulSoup, names: set[str]) -> None:
    struck = names | _STRUCK_NAMES

    def is_struck(tag: Tag) -> bool:
        by_class = "class" in tag.attrs and not struck.isdisjoint(classes(tag))
        by_style = "style" in tag.attrs and kind_of_style(str(tag.attrs["style"])) == "struck"
        return tag.name in ("del", "s", "strike") or by_class or by_style

    for tag in standing(matching(soup, is_struck)):
        parts_numbers = beside(tag, back=True).isdigit() and beside(tag, back=False).isdigit()
        put_text(tag, " " if parts_numbers else "")


def _write_rubies(soup: BeautifulSoup) -> None:
    """The reading above a word parts it: the word stays."""
    for tag in standing(named(soup, ("rt", "rp", "rtc"))):
        tag.decompose()


def _write_formulas(soup: BeautifulSoup) -> None:
    for tag in standing(named(soup, ("math",))):
        notes = " ".join(each.get_text() for each in named(tag, ("annotation",)))
        source = str(tag.get("alttext") or "") or notes
        _drop_copies(tag, source)
        _put(tag, as_text(tag) or source)
    for tag in standing(named(soup, ("svg",))):
        _put(tag, " ".join(" ".join(text.stripped_strings) for text in named(tag, ("text",))))
    for tag in matching(soup, lambda tag: tag.name == "script" and str(tag.get("type")).startswith("math/tex")):
        _put(tag, tag.get_text())


def _drop_copies(formula: Tag, source: str) -> None:
    """What shows a formula once more, for browsers that do not know MathML."""
    around = formula.find_parent(class_=_FORMULA) or formula.find_parent("mjx-container")
    for copy in around.find_all(["img", "span", "mjx-math"]) if around is not None else ():
        twin = copy.get("aria-hidden") == "true" and copy.find("math") is None
        if not copy.decomposed and (twin or (copy.name == "img" and copy.get("alt") in (source, None))):
            copy.decompose()


def _write_pictures(soup: BeautifulSoup) -> None:
    """What is written in place of a picture, unless it stands beside it or is a file's name."""
    for tag in named(soup, ("img",)):
        said = " ".join(str(tag.get("alt") or "").split())
        around = tag.find_parent(("a", "figure", "picture"))
        shown = " ".join((around or tag).get_text(" ", strip=True).split())
        _put(tag, "" if _FILE.fullmatch(said) or said in shown else said)


def _put(tag: Tag, text: str) -> None:
    """A text in a tag's place, with blanks where words would run together."""
    if not text.strip():
        put_text(tag, " ")
        return
    before, after = beside(tag, back=True), beside(tag, back=False)
    lead = " " if before and not before.isspace() and before not in "([{“«" else ""
    put_text(tag, f"{lead}{text}{' ' if after.isalnum() else ''}")


def _drop_ways_back(soup: BeautifulSoup) -> None:
    """Links of a heading to itself, and of a note to its mark."""
    for tag in standing(named(soup, ("a",))):
        if str(tag.get("href") or "").startswith("#") and tag.get_text(strip=True) in _BACK:
            tag.decompose()


def _part_own_tags(soup: BeautifulSoup) -> None:
    """Tags of a page's own making (<my-card>) are mostly blocks: they do not glue words."""
    for tag in matching(soup, lambda tag: "-" in tag.name):
        part(tag)
