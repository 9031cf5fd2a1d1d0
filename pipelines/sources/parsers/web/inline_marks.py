"""What marks say that Markdown of plain words would lose: raised and lowered figures, struck words, notes, pictures.

Numbers never change their value: 10 with a raised 6 becomes "10^6", never "106"; what is struck out is no text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bs4 import BeautifulSoup, NavigableString, Tag

from pipelines.sources.parsers.web.mathml import as_text

BLOCKS = frozenset(
    [
        *("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "div"),
        *("dir", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6"),
        *("header", "hgroup", "hr", "html", "legend", "li", "main", "menu", "nav", "ol", "optgroup", "option", "p"),
        *("pre", "search", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul", "br"),
        *("[document]", "noscript", "frameset"),
    ]
)
_STRUCK_NAMES = frozenset(("line-through", "text-decoration-line-through", "strikethrough", "strike-through"))
_RULE = re.compile(r"([^{}]+)\{([^{}]*)\}")
_CLASS = re.compile(r"(?:[a-z]+)?\.([\w-]+)$", re.IGNORECASE)
_STRUCK = re.compile(r"text-decoration(?:-line)?\s*:[^;]*line-through")
_RAISED = re.compile(r"vertical-align\s*:\s*(super|sub)\b")
_STYLES_CHARS = 2**20  # of style sheets in a page
_NOTE = re.compile(r"footnote|noteref|note-ref|reference|citation|endnote", re.IGNORECASE)
_NOTE_MARK = re.compile(r"[\[(]?(\w{1,4}|[*†‡§¶]{1,3})[\])]?")
_BACK = frozenset(("↑", "↩", "↩︎", "^", "¶", "#", "🔗", "⬆"))
_SIMPLE = re.compile(r"[-+\u2212\u2013]?[\w.,]+")
_FILE = re.compile(r"\S+\.(?:jpe?g|png|gif|webp|svg|bmp|tiff?)", re.IGNORECASE)


def write_marks(soup: BeautifulSoup) -> None:
    """Turn marks into characters, in place."""
    raised = _by_class(soup)
    _drop_struck(soup, {name for name, kind in raised.items() if kind == "struck"})
    _write_rubies(soup)
    _write_formulas(soup)
    _write_pictures(soup)
    _write_raised(soup, raised)
    _drop_ways_back(soup)
    _part_own_tags(soup)
    soup.smooth()


def _by_class(soup: BeautifulSoup) -> dict[str, str]:
    """Classes that the page's style sheets say are struck out, raised or lowered."""
    found: dict[str, str] = {}
    sheets = " ".join(tag.get_text() for tag in soup.find_all("style"))[:_STYLES_CHARS]
    for selectors, said in _RULE.findall(sheets):
        kind = _kind(said)
        for selector in selectors.split(",") if kind else ():
            if name := _CLASS.match(selector.strip()):
                found[name[1]] = kind
    return found


def _kind(style: str) -> str:
    if _STRUCK.search(style):
        return "struck"
    level = _RAISED.search(style)
    return level[1] if level else ""


def _classes(tag: Tag) -> list[str]:
    named = tag.get("class") or []
    return named if isinstance(named, list) else named.split()


def _drop_struck(soup: BeautifulSoup, names: set[str]) -> None:
    def is_struck(tag: Tag) -> bool:
        by_class = not (names | _STRUCK_NAMES).isdisjoint(_classes(tag))
        return tag.name in ("del", "s", "strike") or by_class or _kind(str(tag.get("style") or "")) == "struck"

    for tag in soup.find_all(is_struck):
        if not tag.decomposed:
            before, after = _beside(tag, back=True), _beside(tag, back=False)
            tag.replace_with(" ") if before.isdigit() and after.isdigit() else tag.decompose()


def _write_rubies(soup: BeautifulSoup) -> None:
    """The reading above a word parts it: the word stays."""
    for tag in soup.find_all(("rt", "rp", "rtc")):
        tag.decompose()


def _write_formulas(soup: BeautifulSoup) -> None:
    for tag in soup.find_all("math"):
        if not tag.decomposed:
            source = str(tag.get("alttext") or "") or " ".join(each.get_text() for each in tag.find_all("annotation"))
            for picture in tag.parent.parent.find_all("img", alt=source) if source and tag.parent.parent else ():
                picture.decompose()
            _put(tag, as_text(tag) or source)
    for tag in soup.find_all("svg"):
        if not tag.decomposed:
            _put(tag, " ".join(" ".join(text.stripped_strings) for text in tag.find_all("text")))
    for tag in soup.find_all("script", type=re.compile("^math/tex")):
        _put(tag, tag.get_text())


def _write_pictures(soup: BeautifulSoup) -> None:
    """What is written in place of a picture, unless it stands beside it or is a file's name."""
    for tag in soup.find_all("img"):
        said = " ".join(str(tag.get("alt") or "").split())
        around = tag.find_parent(("a", "figure", "picture"))
        beside = " ".join((around or tag).get_text(" ", strip=True).split())
        _put(tag, "" if _FILE.fullmatch(said) or said in beside else said)


def _put(tag: Tag, text: str) -> None:
    """A text in a tag's place, with blanks where words would run together."""
    before, after = _beside(tag, back=True), _beside(tag, back=False)
    lead = " " if before and not before.isspace() and before not in "([{“«" else ""
    tag.replace_with(f"{lead}{text}{' ' if after.isalnum() else ''}" if text.strip() else lead and after and " ")


def _write_raised(soup: BeautifulSoup, by_class: dict[str, str]) -> None:
    def level(tag: Tag) -> str:
        if tag.name in ("sup", "sub"):
            return {"sup": "super", "sub": "sub"}[tag.name]
        styled = _kind(str(tag.get("style") or "")) if tag.name in ("span", "font", "i", "em", "b", "a") else ""
        return styled or next((by_class[name] for name in _classes(tag) if by_class.get(name) in ("super", "sub")), "")

    for tag in reversed(soup.find_all(lambda tag: bool(level(tag)))):
        if tag.find(list(BLOCKS)) is not None:
            continue
        text = " ".join(tag.get_text().split())
        if text:
            tag.replace_with(_raised(tag, text, level(tag)))


def _raised(tag: Tag, text: str, level: str) -> str:
    """How a raised or lowered text is written behind what stands before it."""
    before, after = _beside(tag, back=True), _beside(tag, back=False)
    gap = " " if after.isalnum() else ""
    if _is_note(tag) and (mark := _NOTE_MARK.fullmatch(text)):
        return f"[{mark[1]}]{gap}"
    if not before or before.isspace() or not (before.isalnum() or before in ")]}’'′\"”%°"):
        return f"{text}{gap if not before or (text[-1:].isdigit() and after.isdigit()) else ''}"
    if level == "super" and after in "/⁄" and after and text.isdigit() and before.isdigit():
        return f" {text}"  # 5 3/4, its parts raised and lowered
    plain = text if _SIMPLE.fullmatch(text) else f"({text})"
    gap = " " if after.isdigit() or (after.isalpha() and level == "super" and text[-1:].isalpha()) else ""
    if level == "super":
        ordinal = text.isalpha() and text.islower() and (before.isdigit() or len(text) > 1)
        return text if ordinal else f"^{plain}{gap}"
    if before.isalpha() and text.isdigit():
        return f"_{text}{gap}" if gap else text  # CO2 is written so
    return text if before in "/⁄" else f"_{plain}{gap}"


def _is_note(tag: Tag) -> bool:
    """Whether a raised mark leads to a note."""
    links = [link for link in (tag if tag.name == "a" else tag.find("a"), tag.find_parent("a")) if link is not None]
    away = any("#" in str(link.get("href") or "") for link in links)
    named = " ".join([*_classes(tag), str(tag.get("role") or ""), str(tag.get("id") or "")])
    return away or bool(_NOTE.search(named))


def _drop_ways_back(soup: BeautifulSoup) -> None:
    """Links of a heading to itself, and of a note to its mark."""
    for tag in soup.find_all("a"):
        if str(tag.get("href") or "").startswith("#") and tag.get_text(strip=True) in _BACK:
            tag.decompose()


def _part_own_tags(soup: BeautifulSoup) -> None:
    """Tags of a page's own making (<my-card>) are mostly blocks: they do not glue words."""
    for tag in soup.find_all(lambda tag: "-" in tag.name):
        tag.insert_before(" ")
        tag.insert_after(" ")


def _beside(tag: Tag, *, back: bool) -> str:
    """The character before or behind a tag in its line; "" at a block's border."""
    for text in _neighbours(tag, back=back):
        if text:
            return text[-1] if back else text[0]
    return ""


def _neighbours(tag: Tag, *, back: bool) -> Iterator[str]:
    node: Tag | NavigableString = tag
    while True:
        beside = node.previous_sibling if back else node.next_sibling
        while beside is None:
            if node.parent is None or node.parent.name in BLOCKS:
                return
            node = node.parent
            beside = node.previous_sibling if back else node.next_sibling
        if isinstance(beside, Tag) and beside.name in BLOCKS:
            return
        yield beside.get_text() if isinstance(beside, Tag) else str(beside)
        node = beside  # type: ignore[assignment]
