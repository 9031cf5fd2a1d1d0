"""PDF -> text, page after page, a form feed behind each. Scripts in it do not run; pictures of text stay pictures."""

from __future__ import annotations

import re
from typing import Any

import pypdfium2

from pipelines.sources._opening import MAX_CHARS
from pipelines.sources.parsers import Parsed, Unreadable

_HYPHEN = re.compile(r"[\x02\ufffe]\n?")  # what PDFium makes of a hyphen at the end of a line
_NO_TITLE = re.compile(r"^(microsoft \w+ - .*|untitled.*|.*\.(docx?|pdf|indd|tex|dvi|rtf|odt))$", re.IGNORECASE)


def parse(content: bytes) -> Parsed:
    """Raises Unreadable."""
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise Unreadable("encrypted: it needs a password") from None
        raise Unreadable(f"no PDF, or a broken one ({error})") from None
    pages: list[str] = []
    length = 0
    for number in range(1, len(document) + 1):
        pages.append(_page(document, number))
        length += len(pages[-1])
        if length > MAX_CHARS:
            raise Unreadable(f"longer than {MAX_CHARS:,} characters")
    if not any(page.strip() for page in pages):
        raise Unreadable(f"no text on any of its {len(pages):,} pages: pictures of pages need OCR first")
    return Parsed("".join(f"{page}\n\f" for page in pages), _title(document))


def _page(document: Any, number: int) -> str:
    try:
        page = document[number - 1]
        text = page.get_textpage().get_text_bounded()
    except pypdfium2.PdfiumError as error:
        raise Unreadable(f"page {number:,} cannot be read ({error})") from None
    page.close()
    plain = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\0", "")
    return _HYPHEN.sub("", plain).rstrip()


def _title(document: Any) -> str:
    said = " ".join(document.get_metadata_value("Title").split())
    return "" if _NO_TITLE.match(said) else said
