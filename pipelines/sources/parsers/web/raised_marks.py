"""Raised and lowered figures as one types them: "10^6", "[3]" for a note, "CO2"."""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag

from pipelines.sources.parsers.web.tags import BLOCKS, beside, classes, holds, matching, put_text

_NOTE = re.compile(r"footnote|noteref|note-ref|reference|citation|endnote", re.IGNORECASE)
_NOTE_MARK = re.compile(r"[\[(]?(\w{1,4}|[*†‡§¶]{1,3})[\])]?")
_SIMPLE = re.compile(r"[-+\u2212\u2013]?[\w.,]+")
_STRUCK = re.compile(r"text-decoration(?:-line)?\s*:[^;]*line-through")
_RAISED = re.compile(r"vertical-align\s*:\s*(super|sub)\b")


def kind_of_style(style: str) -> str:
    """What a style does to a text: "struck", "super", "sub" or ""."""
    if _STRUCK.search(style):
        return "struck"
    level = _RAISED.search(style)
    return level[1] if level else ""


def write_raised(soup: BeautifulSoup, by_class: dict[str, str]) -> None:
    def level(tag: Tag) -> str:
        if tag.name in ("sup", "sub"):
            return {"sup": "super", "sub": "sub"}[tag.name]
        styled = kind_of_style(str(tag.attrs["style"])) if "style" in tag.attrs else ""
        styled = (
            styled or next((by_class[name] for name in classes(tag) if name in by_class), "") if by_class else styled
        )
        return "" if styled == "struck" or tag.name in BLOCKS else styled

    for tag in reversed(matching(soup, level)):
        if holds(tag, BLOCKS):
            continue
        text = " ".join(tag.get_text().split())
        if text:
            put_text(tag, _raised(tag, text, level(tag)))


def _raised(tag: Tag, text: str, level: str) -> str:
    """How a raised or lowered text is written behind what stands before it."""
    before, after = beside(tag, back=True), beside(tag, back=False)
    gap = " " if after.isalnum() else ""
    if _is_note(tag) and (mark := _NOTE_MARK.fullmatch(text)):
        return f"[{mark[1]}]{gap}"
    if not before or before.isspace() or not (before.isalnum() or before in ")]}’'′\"”%°"):
        return f"{text}{gap if not before or (text[-1:].isdigit() and after.isdigit()) else ''}"
    if level == "super" and after in "/⁄" and after and text.isdigit() and before.isdigit():
        return f" {text}"  # 5 3/4, its parts raised and lowered
    if (len(text) == 1 and not text.isalnum()) or (text[0] == "[" and text[-1] == "]"):
        return text  # a degree, a mark of a note
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
    called = " ".join([*classes(tag), str(tag.get("role") or ""), str(tag.get("id") or "")])
    return away or bool(_NOTE.search(called))
