"""Pages whose text PDFium would read differently on another machine, read by pypdf instead.

Where a font of Chinese, Japanese or Korean is named and not embedded, PDFium gives only letters that it finds in the
machine's own fonts. pypdf reads by the font's encoding and asks no machine.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cached_property
from io import BytesIO
from typing import Any

import pypdfium2.raw as pdfium

_DEPTH = 8  # of forms in forms
_STANDARD = ("courier", "helvetica", "times", "symbol", "zapfdingbats", "arial")  # PDFium brings substitutes for these


class OtherEngine:
    """The same document for pypdf, opened when a page needs it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @cached_property
    def _reader(self) -> Any:
        from pypdf import PdfReader

        return PdfReader(BytesIO(self._content))

    def text(self, page: Any, number: int) -> str | None:
        """The page's text where PDFium's depends on the machine; else None. number: of the page, from 0."""
        if not any(_is_foreign(font) for font in _fonts(page)):
            return None
        from pypdf.errors import PyPdfError

        try:
            read = self._reader.pages[number]
            return str(read.extract_text()) if any(map(_is_composite, _named(read.get("/Resources"), 0))) else None
        except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return None  # of a broken file, pypdf raises what it likes; PDFium's text stands


def _fonts(page: Any) -> Iterator[Any]:
    """The fonts of the page's text, each once."""
    seen: set[int] = set()
    stack = [(pdfium.FPDFPage_GetObject, page, pdfium.FPDFPage_CountObjects(page), 0)]
    while stack:
        get, holder, count, depth = stack.pop()
        for at in range(max(0, count)):
            thing = get(holder, at)
            kind = pdfium.FPDFPageObj_GetType(thing)
            if kind == pdfium.FPDF_PAGEOBJ_FORM and depth < _DEPTH:
                stack.append((pdfium.FPDFFormObj_GetObject, thing, pdfium.FPDFFormObj_CountObjects(thing), depth + 1))
            if kind != pdfium.FPDF_PAGEOBJ_TEXT:
                continue
            font = pdfium.FPDFTextObj_GetFont(thing)
            if font and (address := _address(font)) not in seen:
                seen.add(address)
                yield font


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0


def _is_foreign(font: Any) -> bool:
    if pdfium.FPDFFont_GetIsEmbedded(font) != 0:
        return False
    name = ctypes.create_string_buffer(256)
    pdfium.FPDFFont_GetBaseFontName(font, name, 256)
    return not name.value.decode("latin-1").lower().startswith(_STANDARD)


def _named(resources: Any, depth: int) -> Iterator[Any]:
    """The fonts that resources name, those of forms in them too."""
    if resources is None:
        return
    held = resources.get_object()
    for font in held["/Font"].get_object().values() if "/Font" in held else ():
        yield font.get_object()
    forms = held["/XObject"].get_object().values() if "/XObject" in held and depth < _DEPTH else ()
    for form in forms:
        yield from _named(form.get_object().get("/Resources"), depth + 1)


def _is_composite(font: Any) -> bool:
    """Whether it is one of many letters (Type 0) that is not embedded."""
    if font.get("/Subtype") != "/Type0":
        return False
    descendant = font["/DescendantFonts"].get_object()[0].get_object()
    described = descendant.get("/FontDescriptor")
    described = described.get_object() if described is not None else {}
    return not any(name in described for name in ("/FontFile", "/FontFile2", "/FontFile3"))
