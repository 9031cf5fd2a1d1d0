"""DOCX -> Markdown, through mammoth's HTML. Pictures, macros, links to files and page heads are left out."""

from __future__ import annotations

import zipfile
from io import BytesIO

import mammoth
from lxml import etree

from pipelines.sources.parsers import Parsed, Unreadable, html

_MAX_XML_BYTES = 64 * 2**20  # unpacked: a book of a thousand pages has ten
_MAX_PARTS = 10_000
_OLE = b"\xd0\xcf\x11\xe0"  # the container of Word 97, and of encrypted files
_TITLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => h2:fresh"
_CORE, _TITLE = "docProps/core.xml", "{http://purl.org/dc/elements/1.1/}title"


def parse(content: bytes) -> Parsed:
    """Raises Unreadable."""
    if content.startswith(_OLE):
        raise Unreadable("encrypted, or of Word 97: save it as DOCX without a password")
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            _refuse_bomb(archive)
            title = _title(archive)
        made = mammoth.convert_to_html(BytesIO(content), style_map=_TITLES, convert_image=lambda _: [])
    except (zipfile.BadZipFile, EOFError, KeyError, OSError) as error:
        raise Unreadable(f"no DOCX, or one that was cut off ({error})") from None
    found = html.of_text(made.value)
    return Parsed(found.text, title)


def _refuse_bomb(archive: zipfile.ZipFile) -> None:
    """The sizes that the archive states: zipfile reads no further than them."""
    parts = archive.infolist()
    size = sum(part.file_size for part in parts if part.filename.endswith((".xml", ".rels")))
    if len(parts) > _MAX_PARTS or size > _MAX_XML_BYTES:
        raise Unreadable(
            f"unpacks to {size:,} bytes of XML in {len(parts):,} parts; at most {_MAX_XML_BYTES:,} in {_MAX_PARTS:,} "
            "are read"
        )


def _title(archive: zipfile.ZipFile) -> str:
    if _CORE not in archive.namelist():
        return ""
    plain = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        found = etree.fromstring(archive.read(_CORE), plain).findtext(_TITLE)
    except etree.XMLSyntaxError:
        return ""
    return " ".join((found or "").split())
