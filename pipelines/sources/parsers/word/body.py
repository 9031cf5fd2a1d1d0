"""The text of a Word file, rewritten so that mammoth reads all that a reader sees, and nothing that was taken out."""

from __future__ import annotations

from collections.abc import Mapping

from mammoth.docx.dingbats import dingbats

from pipelines.sources.parsers.word.charts import drawn
from pipelines.sources.parsers.word.equations import write_equations
from pipelines.sources.parsers.word.numbering import Numbering, write_numbers
from pipelines.sources.parsers.word.ooxml import (
    DGM,
    MC,
    W14,
    WP,
    C,
    Element,
    Parts,
    V,
    W,
    all_of,
    made,
    remove,
    replace,
    run,
    value,
)  # fmt: skip
from pipelines.sources.parsers.word.structure import keep_columns, name_headings
from pipelines.sources.parsers.word.styles import Styles

_WRAPPED = ("fldSimple", "dir", "bdo", "rubyBase", "ruby", "smartTag", "customXml")
_TAKEN_OUT = ("del", "moveFrom", "softHyphen", "rt")
_AS_TEXT = {"noBreakHyphen": "-", "ptab": "\t", "cr": "\n"}


def rewrite(root: Element, parts: Parts, targets: Mapping[str, str], styles: Styles, numbering: Numbering) -> None:
    """Change a part of a document in place."""
    _choose(root)
    _open_controls(root)
    _take_out(root, styles)
    write_numbers(root, numbering, styles)
    write_equations(root)
    _write_drawings(root, parts, targets)
    _write_characters(root)
    _write_choices(root)
    for name in _WRAPPED:
        for element in all_of(root, W + name):
            replace(element, *list(element))
    keep_columns(root)
    name_headings(root, styles)


def _choose(root: Element) -> None:
    """Of two forms of a drawing, the one with text; else what every program reads."""
    for both in reversed(list(root.iter(MC + "AlternateContent"))):
        choice, fallback = both.find(MC + "Choice"), both.find(MC + "Fallback")
        says = choice is not None and any(
            True for _ in choice.iter(W + "txbxContent", C + "chart", DGM + "relIds", WP + "docPr")
        )
        taken = choice if says or fallback is None else fallback
        replace(both, *([] if taken is None else list(taken)))


def _open_controls(root: Element) -> None:
    """Content controls are their content; a box to tick says whether it is ticked."""
    for control in reversed(list(root.iter(W + "sdt"))):
        content = control.find(W + "sdtContent")
        box = control.find(f"{W}sdtPr/{W14}checkbox")
        if box is not None and content is not None:
            checked = box.find(W14 + "checked")
            ticked = checked is not None and checked.get(W14 + "val", "1") not in ("0", "false")
            texts = list(content.iter(W + "t", W + "sym"))
            for text in texts[:1]:
                replace(text, run("[x]" if ticked else "[ ]")[0])
        replace(control, *([] if content is None else list(content)))


def _take_out(root: Element, styles: Styles) -> None:
    """Deletions, and what is struck out or hidden."""
    for row in all_of(root, W + "tr"):
        if row.find(f"{W}trPr/{W}del") is not None:
            remove(row)
    for name in _TAKEN_OUT:
        for element in all_of(root, W + name):
            above = element.getparent()
            if above is not None and above.tag not in (W + "rPr", W + "trPr", W + "pPr"):
                remove(element)
    for paragraph in all_of(root, W + "p"):
        style = value(paragraph.find(W + "pPr"), "pStyle") or ""
        for each in paragraph.iter(W + "r"):
            if styles.is_no_text(each.find(W + "rPr"), style):
                parts_numbers = _edge(each.getprevious(), -1).isdigit() and _edge(each.getnext(), 0).isdigit()
                for text in [child for child in each if child.tag != W + "rPr" and not _is_field(child)]:
                    each.remove(text)
                if parts_numbers:
                    each.append(run(" ")[0])


def _edge(beside: Element | None, at: int) -> str:
    """The character of a run that stands next to another; "" without any."""
    text = "" if beside is None else "".join(each.text or "" for each in beside.iter(W + "t"))
    return text[at] if text else ""


def _is_field(element: Element) -> bool:
    return element.tag in (W + "fldChar", W + "instrText")


def _write_drawings(root: Element, parts: Parts, targets: Mapping[str, str]) -> None:
    """Text boxes as mammoth knows them, charts as tables behind the paragraph, pictures as their descriptions."""
    for drawing in all_of(root, W + "drawing", W + "pict"):
        if drawing.getparent() is None:
            continue
        boxes = [box for box in drawing.iter(W + "txbxContent") if _nearest(box, drawing)]
        paragraph = next(drawing.iterancestors(W + "p"), None)
        if paragraph is not None:
            for each in reversed(drawn(drawing, parts, targets)):
                paragraph.addnext(each)
        inside = {id(each) for box in boxes for each in box.iter()}
        said = [each for each in drawing.iter(WP + "docPr", V + "shape", V + "textpath") if id(each) not in inside]
        texts = dict.fromkeys(text for each in said for text in _alternatives(each))
        words = [run(f" {text} ")[0] for text in texts]
        replace(drawing, *words, *([made("pict", *boxes)] if boxes else []))


def _nearest(box: Element, drawing: Element) -> bool:
    return not any(above.tag == W + "txbxContent" for above in _between(box, drawing))


def _between(element: Element, above: Element) -> list[Element]:
    found = []
    for each in element.iterancestors():
        if each is above:
            break
        found.append(each)
    return found


def _alternatives(element: Element) -> list[str]:
    names = ("string",) if element.tag == V + "textpath" else ("descr",) if element.tag == WP + "docPr" else ("alt",)
    said = (" ".join(element.get(name, "").split()) for name in names)
    return [text for text in said if text]


def _write_characters(root: Element) -> None:
    """Characters that are elements, and symbols that are numbers of a font."""
    for name, text in _AS_TEXT.items():
        for element in all_of(root, W + name):
            replace(element, made("br") if text == "\n" else run(text)[0])
    for symbol in all_of(root, W + "sym"):
        replace(symbol, run(_symbol(symbol.get(W + "font", ""), symbol.get(W + "char", "")))[0])
    for each in all_of(root, W + "r"):
        font = each.find(f"{W}rPr/{W}rFonts")
        named = "" if font is None else font.get(W + "ascii", "")
        for text in each.findall(W + "t") if named in ("Symbol", "Wingdings") else ():
            text.text = "".join(
                _symbol(named, f"{ord(letter):X}") if "\uf020" <= letter <= "\uf0ff" else letter
                for letter in text.text or ""
            )


def _symbol(font: str, char: str) -> str:
    """The character that a symbol looks like; U+FFFD for one that nothing is known of."""
    try:
        number = int(char, 16)
    except ValueError:
        return "\ufffd"
    found = dingbats.get((font, number)) or dingbats.get((font, number & 0xFF))
    known = 0x20 <= number < 0xD800 or 0xF900 <= number < 0xFFFE
    return chr(found) if found else chr(number) if known else "\ufffd"


def _write_choices(root: Element) -> None:
    """The chosen entry of a form's list stands in no run."""
    for field in all_of(root, W + "fldChar"):
        listed = field.find(f"{W}ffData/{W}ddList")
        if listed is not None:
            entries = [entry.get(W + "val", "") for entry in listed.findall(W + "listEntry")]
            chosen = value(listed, "result") or value(listed, "default") or "0"
            if chosen.isdecimal() and int(chosen) < len(entries):
                field.addprevious(run(entries[int(chosen)])[0])
