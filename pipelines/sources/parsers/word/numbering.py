"""The numbers of headings, clauses and lists, which Word counts and does not write. Source: ECMA-376, part 1, 17.9."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipelines.sources.parsers.web.markdown_writer import LABEL, LABEL_END
from pipelines.sources.parsers.word.ooxml import Element, W, all_of, made, run, value
from pipelines.sources.parsers.word.styles import Styles

_LEVELS = 9
_DEEPEST_LIST = 4  # beyond, mammoth knows no list: the number stands in the text
_NUMBER = re.compile(r"%(\d)")
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
          (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip
_HAN = "〇一二三四五六七八九"


@dataclass(frozen=True)
class Level:
    """How a level of a list counts and writes."""

    start: int
    form: str
    text: str
    restart: int | None  # after which level (from 1) it starts again; None: after any above it, 0: never
    legal: bool
    style: str


@dataclass
class Numbering:
    """The lists of a document, and how far each has counted."""

    levels: Mapping[str, Mapping[int, Level]]  # by abstract list
    lists: Mapping[str, str]  # abstract list by numId
    overrides: Mapping[str, Mapping[int, Level]]
    starts: Mapping[str, Mapping[int, int]]
    counts: dict[str, dict[int, int]] = field(default_factory=dict)
    started: set[tuple[str, int]] = field(default_factory=set)

    def level(self, number: str, depth: int) -> Level | None:
        own = self.overrides.get(number, {}).get(depth)
        return own or self.levels.get(self.lists.get(number, ""), {}).get(depth)

    def next_label(self, number: str, depth: int) -> str:
        """Count one on, and write the number of the paragraph; "" for a bullet."""
        level = self.level(number, depth)
        if level is None:
            return ""
        counts = self.counts.setdefault(self.lists[number], {})
        start = self.starts.get(number, {}).get(depth)
        if start is not None and (number, depth) not in self.started:
            counts[depth] = start
        else:
            counts[depth] = counts[depth] + 1 if depth in counts else level.start
        self.started.add((number, depth))
        for above in range(depth):  # Word counts a level that was passed over as if it had stood there
            passed = self.level(number, above)
            counts.setdefault(above, passed.start if passed else 1)
        for below in range(depth + 1, _LEVELS):
            under = self.level(number, below)
            if under is None or under.restart is None or depth < under.restart:
                counts.pop(below, None)
        return "" if level.form == "bullet" else self._written(number, level, counts)

    def _written(self, number: str, level: Level, counts: Mapping[int, int]) -> str:
        def one(found: re.Match[str]) -> str:
            depth = int(found[1]) - 1
            other = self.level(number, depth)
            count = counts.get(depth, other.start if other else 1)
            form = other.form if other else "decimal"
            return formatted(count, "decimal" if level.legal and form != "none" else form)

        return " ".join(_NUMBER.sub(one, level.text).split())


def read_numbering(root: Element | None, styles: Styles) -> Numbering:
    levels: dict[str, dict[int, Level]] = {}
    lists: dict[str, str] = {}
    overrides: dict[str, dict[int, Level]] = {}
    starts: dict[str, dict[int, int]] = {}
    links: dict[str, str] = {}
    for each in root.findall(W + "abstractNum") if root is not None else ():
        name = each.get(W + "abstractNumId", "")
        levels[name] = dict(map(_level, each.findall(W + "lvl")))
        links[name] = value(each, "numStyleLink") or ""
    for each in root.findall(W + "num") if root is not None else ():
        name = each.get(W + "numId", "")
        lists[name] = value(each, "abstractNumId") or ""
        for other in each.findall(W + "lvlOverride"):
            depth = _whole(other.get(W + "ilvl"), 0)
            if (own := other.find(W + "lvl")) is not None:
                overrides.setdefault(name, {})[depth] = _level(own)[1]
            if (start := value(other, "startOverride")) is not None:
                starts.setdefault(name, {})[depth] = _whole(start, 1)
    for name, abstract in lists.items():
        if style := links.get(abstract):
            lists[name] = lists.get(styles.number(style)[0] or "", abstract)
    return Numbering(levels, lists, overrides, starts)


def _level(element: Element) -> tuple[int, Level]:
    restart = value(element, "lvlRestart")
    return _whole(element.get(W + "ilvl"), 0), Level(
        start=_whole(value(element, "start"), 1),
        form=value(element, "numFmt") or "decimal",
        text=value(element, "lvlText") or "",
        restart=None if restart is None else _whole(restart, 0),
        legal=element.find(W + "isLgl") is not None,
        style=value(element, "pStyle") or "",
    )


def write_numbers(root: Element, numbering: Numbering, styles: Styles) -> None:
    """Write each numbered paragraph's number into its text: plain in a heading, marked in a list."""
    for paragraph in all_of(root, W + "p"):
        properties = paragraph.find(W + "pPr")
        style = value(properties, "pStyle") or ""
        number, depth = _of(properties, style, numbering, styles)
        if properties is not None:
            for own in properties.findall(W + "numPr"):
                properties.remove(own)
        if not number or number == "0" or not "".join(paragraph.itertext()).strip():
            continue
        label = numbering.next_label(number, depth)
        level = numbering.level(number, depth)
        in_list = level is not None and not styles.heading(style) and depth <= _DEEPEST_LIST
        if label:
            _put_first(paragraph, run(f"{LABEL}{label}{LABEL_END}" if in_list else f"{label} "))
        if in_list and (label or (level is not None and level.form == "bullet")):
            if properties is None:
                properties = made("pPr")
                paragraph.insert(0, properties)
            listed = (made("ilvl", val=str(depth)), made("numId", val=number))
            properties.append(made("numPr", *listed))


def _of(properties: Element | None, style: str, numbering: Numbering, styles: Styles) -> tuple[str | None, int]:
    """The list of a paragraph and its depth in it: its own, or its style's."""
    number, depth = value(properties, "numPr", "numId"), value(properties, "numPr", "ilvl")
    if number is not None and depth is not None:
        return number, _whole(depth, 0)
    of_style, its_depth = styles.number(style)
    number = number or of_style
    if number is None:
        return None, 0
    for each, level in numbering.levels.get(numbering.lists.get(number, ""), {}).items():
        if level.style and level.style == style:
            return number, each
    return number, _whole(depth if depth is not None else its_depth, 0)


def _put_first(paragraph: Element, element: Element) -> None:
    first = 1 if len(paragraph) and paragraph[0].tag == W + "pPr" else 0
    paragraph.insert(first, element)


def _whole(said: str | None, otherwise: int) -> int:
    return int(said) if said and re.fullmatch(r"\d{1,6}", said) else otherwise


def formatted(number: int, form: str) -> str:
    """A number as a level writes it; forms that are not known here in digits."""
    if form in ("upperRoman", "lowerRoman"):
        return _cased(_roman(number), form)
    if form in ("upperLetter", "lowerLetter") and number > 0:
        return _cased(chr(ord("a") + (number - 1) % 26) * min(100, (number - 1) // 26 + 1), form)
    if form == "decimalZero":
        return f"{number:02}"
    if form == "none":
        return ""
    if form == "ordinal":
        last = number % 10 if number % 100 not in (11, 12, 13) else 0
        return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"
    if form in ("chineseCounting", "chineseCountingThousand", "japaneseCounting", "taiwaneseCountingThousand"):
        return _han(number)
    return str(number)


def _cased(text: str, form: str) -> str:
    return text.upper() if form.startswith("upper") else text


def _roman(number: int) -> str:
    text = ""
    for worth, letters in _ROMAN if number < 4000 else ():
        text += letters * (number // worth)
        number %= worth
    return text or str(number)


def _han(number: int) -> str:
    if not 0 < number < 100:
        return str(number)
    tens, units = divmod(number, 10)
    return ("" if tens == 0 else "十" if tens == 1 else _HAN[tens] + "十") + (_HAN[units] if units else "")
