"""What people filled into a PDF's form and wrote as comments: lines, each at its place on the page."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pypdfium2.raw as pdfium

from pipelines.sources.parsers.pdf_chars import Line, Segment, turned_box

_COMMENTS = {
    pdfium.FPDF_ANNOT_TEXT, pdfium.FPDF_ANNOT_FREETEXT, pdfium.FPDF_ANNOT_HIGHLIGHT, pdfium.FPDF_ANNOT_UNDERLINE,
    pdfium.FPDF_ANNOT_SQUIGGLY, pdfium.FPDF_ANNOT_STRIKEOUT, pdfium.FPDF_ANNOT_STAMP, pdfium.FPDF_ANNOT_CARET,
    pdfium.FPDF_ANNOT_SQUARE, pdfium.FPDF_ANNOT_CIRCLE, pdfium.FPDF_ANNOT_INK, pdfium.FPDF_ANNOT_LINE,
    pdfium.FPDF_ANNOT_POLYGON, pdfium.FPDF_ANNOT_POLYLINE,
}  # fmt: skip
_HIDDEN = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW
_BOXES = (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON)
_PUSHED = pdfium.FPDF_FORMFIELD_PUSHBUTTON
_PASSWORD = 1 << 13  # a flag of a text field (ISO 32000-1, table 228)
_ROW = 0.4  # of the lower one's height: a field and a line that share this much stand in one row


@dataclass(frozen=True)
class Filled:
    """What stands in a field or a comment, and where."""

    text: str
    x0: float
    y0: float
    x1: float
    y1: float


def fields(form: Any, page: Any) -> list[Filled]:
    """form: the document's, or None where it has none."""
    return list(_fields(form, page))


def filled_in(lines: Sequence[Line], found: Sequence[Filled]) -> list[Line]:
    """The lines with the fields: behind the words to their left in the same row, else below what stands above."""
    made = list(lines)
    for each in sorted(found, key=lambda each: (-each.y1, each.x0)):
        if any(each.text in line.text and _shares(line, each) for line in made):
            continue  # drawn on the page as well
        rows = [line for line in made if _shares(line, each) and line.segments and line.segments[-1].x0 <= each.x0]
        if rows:
            label = max(rows, key=lambda line: line.segments[-1].x0)
            at = sum(segment.x0 <= each.x0 for segment in label.segments)
            label.segments.insert(at, Segment(each.text, each.x0, each.x1))
            continue
        above = [at for at, line in enumerate(made, 1) if line.y0 >= each.y1 - (each.y1 - each.y0) / 2]
        made.insert(max(above, default=0), Line([Segment(each.text, each.x0, each.x1)], each.y0, each.y1))
    return made


def _shares(line: Line, field: Filled) -> bool:
    shared = min(line.y1, field.y1) - max(line.y0, field.y0)
    return shared > _ROW * min(line.height, field.y1 - field.y0)


def _fields(form: Any, page: Any) -> Iterator[Filled]:
    for at in range(pdfium.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium.FPDFPage_GetAnnot(page, at)
        if not annotation:
            continue
        try:
            text = "" if pdfium.FPDFAnnot_GetFlags(annotation) & _HIDDEN else _said(form, annotation)
            box = pdfium.FS_RECTF()
            if text and pdfium.FPDFAnnot_GetRect(annotation, ctypes.byref(box)):
                yield Filled(text, *turned_box(box, page.get_rotation()))
        finally:
            pdfium.FPDFPage_CloseAnnot(annotation)


def _said(form: Any, annotation: Any) -> str:
    kind = pdfium.FPDFAnnot_GetSubtype(annotation)
    if kind in _COMMENTS:
        return _plain(_string(lambda to, size: pdfium.FPDFAnnot_GetStringValue(annotation, b"Contents", to, size)))
    if kind != pdfium.FPDF_ANNOT_WIDGET or form is None:
        return ""
    field = pdfium.FPDFAnnot_GetFormFieldType(form, annotation)
    if field in _BOXES:
        return "[x]" if pdfium.FPDFAnnot_IsChecked(form, annotation) else "[ ]"
    if field == _PUSHED or pdfium.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD:
        return ""
    return _plain(_string(lambda to, size: pdfium.FPDFAnnot_GetFormFieldValue(form, annotation, to, size)))


def _string(read: Callable[[Any, int], int]) -> str:
    """A string of PDFium's: UTF-16 with two bytes of zero behind it."""
    size = read(None, 0)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    read(ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort)), size)
    return buffer.raw[: size - 2].decode("utf-16-le", "replace")


def _plain(text: str) -> str:
    lines = (" ".join(line.split()) for line in text.replace("\r", "\n").replace("\f", "\n").split("\n"))
    return "\n".join(filter(None, lines)).replace("\0", "")
