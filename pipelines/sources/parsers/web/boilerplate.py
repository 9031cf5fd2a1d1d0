"""What of a page is not its text: scripts, fields, site menus, heads and feet; in doubt it is kept.

A part that holds more than two fifths of a page's text is never left out, whatever its tag says: a head that was never
closed holds the page itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from bs4 import BeautifulSoup, Tag

from pipelines.sources.parsers.web.tags import beside, classes, matching, named, size, standing, within

_NO_TEXT = frozenset(
    ("script", "style", "template", "head", "canvas", "iframe", "object", "embed", "audio", "video", "select",
     "datalist", "noframes")
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
_ASKING = re.compile(r"search|login|signin|sign-in|newsletter|subscri|comment|mailchimp", re.IGNORECASE)
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


def drop_what_is_no_text(soup: BeautifulSoup, *, remove_boilerplate: bool = False) -> None:
    """Take out of a tree what a reader of the page does not read as its text."""
    for tag in named(soup, _NO_TEXT):
        tag.decompose()
    _drop_actions(soup)
    _drop_fields(soup)
    _settle_noscript(soup)
    _drop_hidden(soup)
    total = size(soup)
    for tag in standing(matching(soup, _is_chrome)):
        if size(tag) <= _SHARE * total or (_is_links(tag) and size(tag) < _ALL * total):
            tag.decompose()
    if remove_boilerplate:
        _drop_boxes(soup)


def main_parts(soup: BeautifulSoup) -> list[Tag]:
    """The page's main parts, with articles and first headings beside them; the page where they are not most of it."""
    mains = _outermost(matching(soup, _is_main))
    if not mains or sum(map(size, mains)) < _MAIN_SHARE * size(soup):
        return [soup]
    beside = ("article", "h1")
    inside = {id(tag) for main in mains for tag in named(main, beside)}
    return _outermost(matching(soup, lambda tag: _is_main(tag) or (tag.name in beside and id(tag) not in inside)))


def _is_main(tag: Tag) -> bool:
    return bool(tag.name == "main" or tag.get("role") == "main")


def _outermost(tags: Iterable[Tag]) -> list[Tag]:
    """Those that stand in no other of them; in the order of the page."""
    chosen: dict[int, Tag] = {}
    for tag in tags:
        if not any(id(above) in chosen for above in tag.parents):
            chosen[id(tag)] = tag
    return list(chosen.values())


def _drop_actions(soup: BeautifulSoup) -> None:
    """Links that share or print the page, or lead over its menu; forms to search, sign in, subscribe or comment."""
    for tag in standing(matching(soup, lambda tag: tag.name == "a" and _ACTION.search(str(tag.get("href") or "")))):
        tag.decompose()
    for tag in standing(named(soup, ("form",))):
        called = f"{_names(tag)} {tag.get('action') or ''} {tag.get('role') or ''}"
        asks = tag.find("input", type=("search", "password")) or _ASKING.search(called)
        if asks and size(tag) <= _LONGEST_FORM:
            tag.decompose()


def _drop_fields(soup: BeautifulSoup) -> None:
    """Buttons and inputs, but what titles a section that opens, and what is ticked."""
    for tag in named(soup, ("input",)):
        box = tag.get("type") in ("checkbox", "radio")
        if box and (tag.has_attr("disabled") or not within(tag, ("form",))):
            gap = "" if beside(tag, back=False).isspace() else " "
            tag.replace_with(("[x]" if tag.has_attr("checked") else "[ ]") + gap)
        else:
            tag.decompose()
    for tag in standing(named(soup, ("button",))):
        if within(tag, _LABELS):
            tag.unwrap()
        elif any(tag.has_attr(name) for name in ("aria-expanded", "aria-controls")) or tag.get("role") == "tab":
            tag.name = "p"
        else:
            tag.decompose()


def _settle_noscript(soup: BeautifulSoup) -> None:
    """Kept where it is a text and no request to switch scripts on: of several paragraphs, or most of the page."""
    parts = named(soup, ("noscript",))
    total = size(soup) if parts else 0
    for tag in standing(parts):
        held = size(tag)
        if held and (len(tag.find_all("p")) > 1 or held * 2 > total):
            tag.name = "div"
        else:
            tag.decompose()


def _drop_hidden(soup: BeautifulSoup) -> None:
    """What nobody is meant to see. A panel that a control opens, or a long text, is not hidden."""
    parts = matching(soup, lambda tag: tag.has_attr("hidden") or tag.get("aria-hidden") == "true")
    if not parts:
        return
    total = size(soup)
    opened = {
        str(tag.attrs[name]).removeprefix("#") for tag in matching(soup, bool) for name in _OPENS if name in tag.attrs
    }
    for tag in standing(parts):
        held = size(tag)
        panel = tag.get("hidden") == "until-found" or tag.get("role") in ("tabpanel", "region")
        panel = panel or tag.get("id") in opened or bool(_PANEL.search(_names(tag)))
        panel = panel or within(tag, ("details",))
        unseen = tag.get("role") in _CHROME_ROLES or held < _LEAST_HIDDEN or _is_links(tag)
        if unseen and not panel and held <= _SHARE * total:
            tag.decompose()


def _is_chrome(tag: Tag) -> bool:
    """Whether it is a site's menu, head or foot; an article's own is not, nor a head with a headline."""
    if tag.name in ("header", "footer") or tag.get("role") in ("banner", "contentinfo"):
        if within(tag, ("article", "main", "section")):
            return False
        return tag.name != "header" or not any(map(_is_headline, named(tag, _HEADINGS)))
    return tag.name in _CHROME or tag.get("role") in _CHROME_ROLES


def _is_headline(heading: Tag) -> bool:
    """A heading that is more than a link with the site's name."""
    linked = bool(named(heading, ("a",))) or within(heading, ("a",))
    return bool(heading.get_text(strip=True)) and not linked


def _names(tag: Tag) -> str:
    return " ".join([*classes(tag), str(tag.get("id") or "")])


def _is_links(tag: Tag, share: float = _MOSTLY_LINKS) -> bool:
    links = named(tag, ("a",))
    return len(links) >= _LEAST_LINKS and sum(map(size, links)) > share * size(tag)


def _is_box(tag: Tag) -> bool:
    if tag.name in ("html", "body", "main", "article"):
        return False
    called = _names(tag)
    perhaps = _PERHAPS_BOX.search(called) and (size(tag) < _LITTLE or _is_links(tag, _MANY_LINKS))
    return bool(_BOX.search(called) or perhaps)


def _drop_boxes(soup: BeautifulSoup) -> None:
    """The setting `remove_boilerplate`: lists and boxes of links, and boxes that their names call no part of a text."""
    total = size(soup)
    for tag in standing(matching(soup, _is_box)):
        if size(tag) <= _SHARE * total:
            tag.decompose()
    for tag in standing(named(soup, ("ul", "ol", "div", "aside", "section", "table"))):
        if size(tag) <= _SHARE * total and _is_links(tag) and "comment" not in _names(tag):
            tag.decompose()
