"""A page's tree -> Markdown, by markdownify, with the numbers of its lists and no mark that its text did not mean."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bs4 import Tag
from markdownify import ATX, MarkdownConverter

from pipelines.sources.parsers import without_invisible

# Around the number that a list item had in its document (word/numbering.py). They are no characters of any text.
LABEL, LABEL_END = "\ufdd0", "\ufdd1"
_MEANT = "\ufdd2"  # before a line whose first mark is Markdown's
_INLINE = ["a", "b", "strong", "em", "i", "u", "s", "del", "ins", "sub", "sup", "mark", "small", "code", "kbd", "samp"]
_EMPTY_LINES = re.compile(r"\n[ \t]*\n(?:[ \t]*\n)+")
_LABELLED = re.compile(rf"\s*{LABEL}([^{LABEL_END}]*){LABEL_END}[ \t]*")
_SEEMS_MEANT = re.compile(r"(?m)^([ \t]*)(#{1,6}(?=\s|$)|```|~~~|={2,}$|-{2,}$)")
_BLANKS = re.compile(r"(?<=\S)[ \t]{2,}(?=\S)")
_UNITS, _TENS = ("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix"), ("", "x", "xx", "xxx", "xl", "l")


class _Writer(MarkdownConverter):
    """What markdownify does otherwise."""

    def __init__(self) -> None:
        super().__init__(
            heading_style=ATX, bullets="-", strip=_INLINE, escape_asterisks=False, escape_underscores=False,
            wrap=True, wrap_width=None,
        )  # fmt: skip

    def convert_li(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        text = (text or "").strip()
        if not text:
            return "\n"
        if labelled := _LABELLED.match(text):
            mark, text = labelled[1], text[labelled.end() :]
        else:
            mark = bullet(el)
        first, *rest = ["", *text.split("\n")] if text.startswith("| ") else text.split("\n")
        indent = " " * (len(mark) + 1)
        return "\n".join([f"{mark} {first}", *(indent + line if line else "" for line in rest)]) + "\n"

    def convert_tr(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        columns = len(el.find_all(("td", "th")))
        rule = "" if el.find_previous_sibling("tr") else "| " + " | ".join(["---"] * columns) + " |\n"
        return f"|{text}\n{rule}"

    def convert_td(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return " " + " ".join(text.split()).replace("|", "\\|") + " |"

    convert_th = convert_td

    def convert_pre(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        if not text.strip():
            return ""
        fence = "```"
        while fence in text:
            fence += "`"
        return "\n\n" + "\n".join(_MEANT + line for line in [fence, *text.strip("\n").split("\n"), fence]) + "\n\n"

    def convert_hr(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return f"\n\n{_MEANT}---\n\n"

    def convert_hN(self, n: int, el: Tag, text: str, parent_tags: set[str]) -> str:
        title = " ".join(text.split())
        if "_inline" in parent_tags or not title:
            return title
        return f"\n\n{_MEANT}{'#' * max(1, min(6, n))} {title}\n\n"

    def _block(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return f" {text.strip()} " if "_inline" in parent_tags else f"\n\n{text.strip()}\n\n"

    convert_aside = convert_details = convert_summary = convert_address = convert_fieldset = convert_legend = _block
    convert_figure = convert_form = convert_header = convert_footer = convert_main = convert_center = _block
    convert_option = convert_textarea = convert_hgroup = convert_nav = convert_dialog = convert_search = (
        convert_body
    ) = _block
    convert_div = convert_article = convert_section = convert_tbody = convert_menu = convert_dir = _block


def markdown(parts: Sequence[Tag]) -> str:
    """Some parts of a page as Markdown, one below the other."""
    made = "\n\n".join(str(_Writer().convert_soup(part)) for part in parts)
    made = _SEEMS_MEANT.sub(r"\1\\\2", made.replace("\f", " "))
    lines = (line if _MEANT in line else _BLANKS.sub(" ", line) for line in without_invisible(made).split("\n"))
    text = "\n".join(line.replace(_MEANT, "").rstrip() for line in lines)
    text = text.replace(LABEL, "").replace(LABEL_END, " ")
    return _EMPTY_LINES.sub("\n\n", text).strip() + "\n"


def bullet(item: Tag) -> str:
    """An item's number as the page shows it."""
    if item.parent is None or item.parent.name != "ol":
        return "-"
    number = _number(item)
    kind = str(item.get("type") or item.parent.get("type") or "1")
    if kind in ("a", "A") and 0 < number <= 26:
        return chr(ord(kind) + number - 1) + "."
    if kind in ("i", "I") and 0 < number < 60:
        roman = _TENS[number // 10] + _UNITS[number % 10]
        return (roman if kind == "i" else roman.upper()) + "."
    return f"{number}."


def _number(item: Tag) -> int:
    """By the nearest `value` of an item before it, else by the list's start."""
    assert item.parent is not None
    backwards = item.parent.has_attr("reversed")
    items = item.parent.find_all("li", recursive=False)
    step, start = (-1, len(items)) if backwards else (1, 1)
    number = _whole(item.parent, "start", start) - step
    for each in items:
        number = _whole(each, "value", number + step)
        if each is item:
            break
    return number


def _whole(tag: Tag, name: str, otherwise: int) -> int:
    said = str(tag.get(name, "")).strip()
    return int(said) if re.fullmatch(r"-?\d{1,9}", said) else otherwise
