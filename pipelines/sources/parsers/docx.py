"""DOCX -> Markdown, through mammoth's HTML. Pictures are their descriptions; macros and links to files are left out.

Before mammoth reads it, the file's text is rewritten (word/): mammoth drops formulas, numbers of headings and clauses,
charts and some wrappers. The heads and feet of pages stand once, behind the text.
"""

from __future__ import annotations

import re
import zipfile
from io import BytesIO

import mammoth
from lxml import etree

from pipelines.sources.parsers import Parsed, Unreadable, html, without_invisible
from pipelines.sources.parsers.word.body import rewrite
from pipelines.sources.parsers.word.numbering import Numbering, read_numbering
from pipelines.sources.parsers.word.ooxml import (
    Element,
    Parts,
    W,
    all_of,
    made,
    parsed,
    plain_parser,
    read_parts,
    run,
    targets,
)
from pipelines.sources.parsers.word.styles import Styles, names_alone, read_styles

_MAX_XML_BYTES = 64 * 2**20  # unpacked: a book of a thousand pages has ten
_MAX_PARTS = 10_000
_OLE = b"\xd0\xcf\x11\xe0"  # the container of Word 97, and of encrypted files
_TITLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => h2:fresh"
_CORE, _TITLE = "docProps/core.xml", "{http://purl.org/dc/elements/1.1/}title"
_RELATIONS = "_rels/.rels"
_DOCUMENT = "/officeDocument"
_PAGE_FIELD = re.compile(r"\s*(?:PAGE|NUMPAGES|SECTIONPAGES)\b")


def parse(content: bytes) -> Parsed:
    """Raises Unreadable."""
    if content.startswith(_OLE):
        raise Unreadable("encrypted, or of Word 97: save it as DOCX without a password")
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            _refuse_bomb(archive)
            parts, names = read_parts(archive), archive.namelist()
        title = _title(parts)
        made_html = mammoth.convert_to_html(_rewritten(parts), style_map=_TITLES, convert_image=lambda _: [])
    except (zipfile.BadZipFile, EOFError, KeyError, OSError) as error:
        raise Unreadable(f"no DOCX, or one that was cut off ({error})") from None
    return Parsed(html.of_text(made_html.value).text, title, _unread(parts, names))


def _unread(parts: Parts, names: list[str]) -> str:
    """What the file holds beside its text and pictures, and nobody would miss without being told."""
    embedded = sum(name.startswith("word/embeddings/") or "afchunk" in name for name in names)
    comments = parts.get("word/comments.xml", b"").count(b"<w:comment ")
    told = ((embedded, "embedded files"), (comments, "comments"))
    return ", ".join(f"{count:,} {what}" for count, what in told if count)


def _refuse_bomb(archive: zipfile.ZipFile) -> None:
    """The sizes that the archive states: zipfile reads no further than them."""
    parts = archive.infolist()
    size = sum(part.file_size for part in parts if part.filename.endswith((".xml", ".rels")))
    if len(parts) > _MAX_PARTS or size > _MAX_XML_BYTES:
        raise Unreadable(
            f"unpacks to {size:,} bytes of XML in {len(parts):,} parts; at most {_MAX_XML_BYTES:,} in {_MAX_PARTS:,} "
            "are read"
        )


def _rewritten(parts: Parts) -> BytesIO:
    """The file with its text rewritten, and without pictures."""
    main = _main_part(parts)
    folder = main.rpartition("/")[0]
    said = _part(parts, f"{folder}/styles.xml")
    styles = read_styles(said)
    numbering = read_numbering(_part(parts, f"{folder}/numbering.xml"), styles)
    document = _part(parts, main)
    if document is None:
        raise KeyError(f"There is no item named {main!r} in the archive")
    _rewrite(document, main, parts, styles, numbering)
    _append_heads_and_feet(document, main, parts, styles, numbering)
    written = {main: document}
    if said is not None:
        written[f"{folder}/styles.xml"] = names_alone(said)
    for name in ("footnotes", "endnotes"):
        part = f"{folder}/{name}.xml"
        if (notes := _part(parts, part)) is not None:
            _rewrite(notes, part, parts, styles, numbering)
            written[part] = notes
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for part, content in parts.items():
            archive.writestr(part, etree.tostring(written[part]) if part in written else content)
    file.seek(0)
    return file


def _main_part(parts: Parts) -> str:
    for relation in parsed(_RELATIONS, parts[_RELATIONS]):
        if relation.get("Type", "").endswith(_DOCUMENT):
            return str(relation.get("Target", "")).lstrip("/")
    return "word/document.xml"


def _part(parts: Parts, name: str) -> Element | None:
    return parsed(name, parts[name]) if name in parts else None


def _rewrite(root: Element, part: str, parts: Parts, styles: Styles, numbering: Numbering) -> None:
    rewrite(root, parts, targets(parts, part), styles, numbering)


def _append_heads_and_feet(document: Element, main: str, parts: Parts, styles: Styles, numbering: Numbering) -> None:
    """What pages carry at their heads and feet, each line once, behind the text; less the numbers of pages."""
    body = document.find(W + "body")
    if body is None:
        return
    named = [part for part in targets(parts, main).values() if re.search(r"/(?:header|footer)\d*\.xml$", part)]
    lines: dict[str, None] = {}
    for part in dict.fromkeys(named):
        root = _part(parts, part)
        if root is not None:
            _drop_page_numbers(root)
            _rewrite(root, part, parts, styles, numbering)
            texts = (" ".join(_text(paragraph).split()) for paragraph in root.iter(W + "p"))
            lines.update(dict.fromkeys(filter(None, texts)))
    body.extend(made("p", run(line)) for line in lines if any(map(str.isalnum, line)))


def _text(paragraph: Element) -> str:
    """A paragraph's own text; a text box in it has paragraphs of its own."""
    own = [
        each for each in paragraph.iter(W + "t", W + "tab", W + "br") if next(each.iterancestors(W + "p")) is paragraph
    ]
    return "".join(each.text or "" if each.tag == W + "t" else " " for each in own)


def _drop_page_numbers(root: Element) -> None:
    for field in all_of(root, W + "fldSimple"):
        if _PAGE_FIELD.match(field.get(W + "instr", "")):
            field.clear()
    inside = page = False
    for element in all_of(root, W + "fldChar", W + "instrText", W + "t"):
        if element.tag == W + "instrText":
            page = page or bool(_PAGE_FIELD.match(element.text or ""))
        elif element.tag == W + "t":
            if inside and page:
                element.text = ""
        else:
            inside = element.get(W + "fldCharType") != "end"
            page = page and inside


def _title(parts: Parts) -> str:
    if _CORE not in parts:
        return ""
    try:
        found = etree.fromstring(parts[_CORE], plain_parser()).findtext(_TITLE)
    except etree.XMLSyntaxError:
        return ""
    return without_invisible(" ".join((found or "").split()))
