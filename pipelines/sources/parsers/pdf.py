"""PDF -> text, page after page, a form feed behind each. Scripts in it do not run; pictures of text stay pictures.

PDFium reads the characters (pdf_chars.py); their places give the reading order (pdf_layout.py). Form fields and
comments stand where they are shown (pdf_fields.py). pypdf reads pages that PDFium reads by the machine's fonts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from pipelines.sources._opening import MAX_CHARS
from pipelines.sources.parsers import Parsed, Unreadable
from pipelines.sources.parsers.pdf_chars import lines_of, upright
from pipelines.sources.parsers.pdf_fields import fields, filled_in
from pipelines.sources.parsers.pdf_fonts import OtherEngine
from pipelines.sources.parsers.pdf_layout import text_of, whole_words

_NO_TITLE = re.compile(
    r"^(microsoft \w+ - .*|untitled.*|\(?anonymous\)?|.*\.(docx?|pdf|indd|tex|dvi|rtf|odt))$", re.IGNORECASE
)
_PICTURE_SHARE = 0.5  # of a page: a picture that covers more, with hardly a word beside it, is a scan
_HARDLY = 50  # letters: a scan may bear a stamp, a page number, the scanner's name
_NAMED = 20  # pages without text that are named


def parse(content: bytes) -> Parsed:
    """Raises Unreadable."""
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("encrypted: it needs a password") from None
        raise Unreadable(f"no PDF, or a broken one ({error})") from None
    document.init_forms()  # without it, a form's values cannot be asked for
    pages: list[str] = []
    unread: list[int] = []
    other, length = OtherEngine(content), 0
    for number in range(1, len(document) + 1):
        text, pictures = _page(document, number, other)
        pages.append(text)
        length += len(text)
        if length > MAX_CHARS:
            raise Unreadable(f"longer than {MAX_CHARS:,} characters")
        if pictures:
            unread.append(number)
    if not any(page.strip() for page in pages):
        raise Unreadable(f"no text on any of its {len(pages):,} pages: pictures of pages need OCR first")
    text = whole_words("".join(f"{page}\n\f" for page in pages))
    return Parsed(text, _title(document), _told(unread, len(pages)))


def _page(document: Any, number: int, other: OtherEngine) -> tuple[str, bool]:
    """A page's text, and whether it has pictures in the place of text."""
    try:
        page = document[number - 1]
        text = other.text(page, number - 1)
        if text is None:
            lines = lines_of(upright(page))
            text = text_of(filled_in(lines, fields(document.formenv, page)))
        pictures = _is_scan(page, text)
    except pypdfium2.PdfiumError as error:
        raise Unreadable(f"page {number:,} cannot be read ({error})") from None
    page.close()
    plain = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\0", "")
    return plain.rstrip(), pictures


def _is_scan(page: Any, text: str) -> bool:
    """Whether something is drawn on a page without text, or a picture covers one that has hardly any."""
    letters = sum(letter.isalnum() for letter in text)
    if not letters:
        return bool(pdfium.FPDFPage_CountObjects(page) > 0)
    if letters >= _HARDLY:
        return False
    width, height = page.get_size()
    largest = 0.0
    for picture in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE]):
        left, low, right, high = picture.get_bounds()
        largest = max(largest, (right - left) * (high - low))
    return bool(largest > _PICTURE_SHARE * width * height)


def _told(unread: Sequence[int], pages: int) -> str:
    """Which pages have no text, in words; "" where all have."""
    if not unread:
        return ""
    named = ", ".join(map(str, unread[:_NAMED])) + (" ..." if len(unread) > _NAMED else "")
    return f"{len(unread):,} of {pages:,} pages are pictures without text, which need OCR first: {named}"


def _title(document: Any) -> str:
    said = " ".join(document.get_metadata_value("Title").split())
    return "" if _NO_TITLE.match(said) else said
