"""What of a page is not its text: scripts, fields, site menus, heads and feet; in doubt it is kept.

A part that holds more than two fifths of a page's text is never left out, whatever its tag says: a head that was never
closed holds the page itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bs4 import BeautifulSoup, Tag

_NO_TEXT = (
    "script", "style", "template", "head", "canvas", "iframe", "object", "embed", "audio", "video", "select",
    "datalist", "noframes",
)  # fmt: skip
_CHROME = frozenset(("nav", "header", "footer", "dialog"))
_CHROME_ROLES = frozenset(("navigation", "banner", "contentinfo", "search", "dialog", "alertdialog", "menu", "menubar"))
_SHARE = 0.4  # of the page's text: what holds more is the page
_ALL = 0.9  # of the page's text: a menu that holds less is one, however long it is
_MAIN_SHARE = 0.5  # of the page's text: a <main> that holds less is not all of it
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_LABELS = (*_HEADINGS, "summary", "dt", "legend", "caption", "th")  # a button in them is their text
_OPENS = ("aria-controls", "href", "data-target", "data-bs-target", "data-toggle-target", "for")
_PANEL = re.compile(r"accordion|collaps|panel|tab-|tabs|toggle|faq|answer|spoiler|details", re.IGNORECASE)
_LEAST_HIDDEN = 100  # characters: a hidden paragraph, which something may open, and not a label
_MOSTLY_LINKS = 0.6  # of a box's text
_LEAST_LINKS = 3  # in a list that is one of links
_LONGEST_FORM = 300  # characters
_ACTION = re.compile(
    r"//(?:[\w-]+\.)*(?:facebook\.com/(?:sharer|share\.php|dialog)|(?:twitter|x)\.com/(?:share|intent|home\?status)|"
    r"linkedin\.com/(?:share|cws/share)|pinterest\.[a-z]+/pin/create|plus\.google\.com/share|reddit\.com/submit|"
    r"xing\.com/(?:app/user\?op=share|spi/shares|social)|tumblr\.com/share|getpocket\.com/(?:save|edit)|wa\.me/|"
    r"api\.whatsapp\.com/send|t\.me/share|telegram\.me/share|addtoany\.com)|^whatsapp:|^mailto:\?|"
    r"^javascript:(?:window\.)?print|^#(?:content|main|maincontent|main-content|primary|skip[\w-]*)$",
    re.IGNORECASE,
)
_BOX = re.compile(
    r"cookie|consent|gdpr|share|sharing|social|related|recommend|newsletter|subscri|breadcrumb|advert|sponsor|popup|"
    r"paywall|login|signup|pagination|pager|tagcloud|author-box|(?:^|[-_])(?:ads?|tags)(?:[-_]|$)",
    re.IGNORECASE,
)
_PERHAPS_BOX = re.compile(
    r"sidebar|widget|banner|promo|teaser|modal|menu|navi|toolbar|masthead|byline|footer|(?:^|[-_])(?:nav|meta)(?:[-_]|$)",
    re.IGNORECASE,
)
_LITTLE = 200  # characters of a box that is perhaps one: with more text it is one if much of that is links
_MANY_LINKS = 0.3


def size(tag: Tag) -> int:
    """How many characters of text a part has, white space aside."""
    return sum(len("".join(text.split())) for text in tag.stripped_strings)


def drop_what_is_no_text(soup: BeautifulSoup, *, remove_boilerplate: bool = False) -> None:
    """Take out of a tree what a reader of the page does not read as its text."""
    for tag in soup.find_all(_NO_TEXT):
        tag.decompose()
    _drop_actions(soup)
    _drop_fields(soup)
    _settle_noscript(soup)
    total = size(soup)
    for tag in _each(soup, _is_hidden):
        if size(tag) <= _SHARE * total:
            tag.decompose()
    total = size(soup)
    for tag in _each(soup, _is_chrome):
        if size(tag) <= _SHARE * total or (_is_links(tag) and size(tag) < _ALL * total):
            tag.decompose()
    if remove_boilerplate:
        _drop_boxes(soup)


def main_parts(soup: BeautifulSoup) -> list[Tag]:
    """The page's main parts, with articles and first headings beside them; the page where they are not most of it."""
    mains = soup.find_all(lambda tag: tag.name == "main" or tag.get("role") == "main")
    outermost = [tag for tag in mains if not any(tag in other.descendants for other in mains if other is not tag)]
    if not outermost or sum(map(size, outermost)) < _MAIN_SHARE * size(soup):
        return [soup]
    inside = {id(tag) for main in outermost for tag in main.find_all(True)}
    chosen = {id(tag) for tag in outermost}
    parts: list[Tag] = []
    for tag in soup.find_all(True):
        beside = tag.name in ("article", "h1") and id(tag) not in inside
        if (id(tag) in chosen or beside) and not any(id(above) in chosen for above in tag.parents):
            chosen.add(id(tag))
            parts.append(tag)
    return parts


def _each(soup: BeautifulSoup, chosen: object) -> Iterable[Tag]:
    """The tags that a test chooses, less those that went with one before."""
    return (tag for tag in soup.find_all(chosen) if not tag.decomposed)  # type: ignore[call-overload]


def _drop_actions(soup: BeautifulSoup) -> None:
    """Links that share or print the page, or lead over its menu; forms to search, sign in, subscribe or comment."""
    for tag in soup.find_all("a", href=_ACTION):
        tag.decompose()
    for tag in soup.find_all("form"):
        asks = tag.find("input", type=("search", "password", "email")) or tag.find("textarea")
        if asks and size(tag) <= _LONGEST_FORM:
            tag.decompose()


def _drop_fields(soup: BeautifulSoup) -> None:
    """Buttons and inputs, but what titles a section that opens, and what is ticked."""
    for tag in soup.find_all("input"):
        ticked = tag.get("type") in ("checkbox", "radio") and tag.find_parent(("li", "td", "th", "p")) is not None
        if ticked and (tag.has_attr("disabled") or tag.find_parent("form") is None):
            tag.replace_with("[x] " if tag.has_attr("checked") else "[ ] ")
        else:
            tag.decompose()
    for tag in soup.find_all("button"):
        if tag.find_parent(_LABELS) is not None:
            tag.unwrap()
        elif any(tag.has_attr(name) for name in ("aria-expanded", "aria-controls")) or tag.get("role") == "tab":
            tag.name = "p"
        else:
            tag.decompose()


def _settle_noscript(soup: BeautifulSoup) -> None:
    """Kept where it is a text and no request to switch scripts on: of several paragraphs, or most of the page."""
    total = size(soup)
    for tag in soup.find_all("noscript"):
        held = size(tag)
        if held and (len(tag.find_all("p")) > 1 or held * 2 > total):
            tag.name = "div"
        else:
            tag.decompose()


def _is_hidden(tag: Tag) -> bool:
    """Whether nobody is meant to see it. A panel that a control opens, or a long text, is not hidden."""
    decorative = tag.get("aria-hidden") == "true"
    if not decorative and not tag.has_attr("hidden"):
        return False
    if tag.get("hidden") == "until-found" or tag.find_parent("details") is not None:
        return False
    if tag.get("role") in ("tabpanel", "region") or _opened(tag) or _PANEL.search(_names(tag)):
        return False
    return tag.get("role") in _CHROME_ROLES or size(tag) < _LEAST_HIDDEN or _is_links(tag) or _is_copy(tag)


def _opened(tag: Tag) -> bool:
    """Whether something on the page names it as what it opens."""
    name, page = tag.get("id"), tag.find_parent("html")
    if not name or page is None:
        return False
    return page.find(lambda other: any(str(other.get(each, "")).removeprefix("#") == name for each in _OPENS)) is not None


def _is_copy(tag: Tag) -> bool:
    """Whether it shows a formula that stands beside it as MathML."""
    return tag.parent is not None and tag.parent.find("math") is not None and tag.find("math") is None


def _is_chrome(tag: Tag) -> bool:
    """Whether it is a site's menu, head or foot; an article's own is not, nor a head with a headline."""
    if tag.name in ("header", "footer") or tag.get("role") in ("banner", "contentinfo"):
        if tag.find_parent(["article", "main", "section"]) is not None:
            return False
        return tag.name != "header" or not any(_is_headline(each) for each in tag.find_all(_HEADINGS))
    return tag.name in _CHROME or tag.get("role") in _CHROME_ROLES


def _is_headline(heading: Tag) -> bool:
    """A heading that is more than a link with the site's name."""
    linked = heading.find("a") is not None or heading.find_parent("a") is not None
    return bool(heading.get_text(strip=True)) and not linked


def _names(tag: Tag) -> str:
    classes = tag.get("class") or []
    return " ".join([*(classes if isinstance(classes, list) else [classes]), str(tag.get("id") or "")])


def _is_links(tag: Tag, share: float = _MOSTLY_LINKS) -> bool:
    links = tag.find_all("a")
    return len(links) >= _LEAST_LINKS and sum(map(size, links)) > share * size(tag)


def _is_box(tag: Tag) -> bool:
    if tag.name in ("html", "body", "main", "article"):
        return False
    named = _names(tag)
    perhaps = _PERHAPS_BOX.search(named) and (size(tag) < _LITTLE or _is_links(tag, _MANY_LINKS))
    return bool(_BOX.search(named) or perhaps)


def _drop_boxes(soup: BeautifulSoup) -> None:
    """The setting `remove_boilerplate`: lists and boxes of links, and boxes that their names call no part of a text."""
    total = size(soup)
    for tag in _each(soup, _is_box):
        if size(tag) <= _SHARE * total:
            tag.decompose()
    for tag in _each(soup, ("ul", "ol", "div", "aside", "section", "table")):
        if size(tag) <= _SHARE * total and _is_links(tag) and "comment" not in _names(tag):
            tag.decompose()
