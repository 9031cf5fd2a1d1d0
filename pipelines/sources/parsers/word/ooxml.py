"""Names and parts of a Word file. Source: ECMA-376; its strict form has other names for the same things."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any

from lxml import etree

from pipelines.sources.parsers import Unreadable

Element = Any  # lxml's: it comes without types
Parts = dict[str, bytes]  # of XML, by their names in the archive

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
WP = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
C = "{http://schemas.openxmlformats.org/drawingml/2006/chart}"
DGM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
V = "{urn:schemas-microsoft-com:vml}"
W14 = "{http://schemas.microsoft.com/office/word/2010/wordml}"
SPACE = "{http://www.w3.org/XML/1998/namespace}space"

_STRICT = re.compile(rb"http://purl\.oclc\.org/ooxml/(wordprocessingml|drawingml|officeDocument)/(\w+)")
_DTD = re.compile(rb"<!DOCTYPE", re.IGNORECASE)
_HEAD_BYTES = 4096
_OFF = ("0", "false", "off", "none")


def read_parts(archive: zipfile.ZipFile) -> Parts:
    """The parts of XML; pictures, fonts and embedded files stay where they are."""
    names = [name for name in archive.namelist() if name.endswith((".xml", ".rels"))]
    return {name: _STRICT.sub(_transitional, archive.read(name)) for name in names}


def _transitional(found: re.Match[bytes]) -> bytes:
    return b"http://schemas.openxmlformats.org/%s/2006/%s" % (found[1], found[2])


def plain_parser() -> etree.XMLParser:
    """One that opens nothing and puts nothing in the place of an entity."""
    return etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)


def parsed(name: str, content: bytes) -> Element:
    """Raises Unreadable for what is no XML, or declares entities: Word writes none."""
    if _DTD.search(content[:_HEAD_BYTES]):
        raise Unreadable(f"{name} declares a document type, which no Word file does")
    try:
        return etree.fromstring(content, plain_parser())
    except etree.XMLSyntaxError as error:
        raise Unreadable(f"{name} is no XML ({error.msg})") from None


def targets(parts: Parts, part: str) -> Mapping[str, str]:
    """The parts that a part names, by the ids of its relationships; what lies outside of the file is left out."""
    folder, name = posixpath.split(part)
    relations = f"{folder}/_rels/{name}.rels"
    if relations not in parts:
        return {}
    found = {}
    for each in parsed(relations, parts[relations]):
        if each.get("TargetMode") != "External":
            path = posixpath.normpath(posixpath.join("/", folder, each.get("Target", "")))
            found[each.get("Id", "")] = path.lstrip("/")
    return found


def value(parent: Element | None, *path: str) -> str | None:
    """The attribute w:val of an element below another."""
    found = None if parent is None else parent.find("/".join(W + name for name in path))
    return None if found is None else found.get(W + "val")


def is_on(parent: Element | None, name: str) -> bool | None:
    """Whether a switch (<w:strike/>) is on; None where it is not said."""
    found = None if parent is None else parent.find(W + name)
    return None if found is None else found.get(W + "val", "1") not in _OFF


def made(name: str, *children: Element, **attributes: str) -> Element:
    element = etree.Element(W + name, {W + key: said for key, said in attributes.items()})
    element.extend(children)
    return element


def run(text: str) -> Element:
    """A run with a text."""
    element = etree.Element(W + "t", {SPACE: "preserve"})
    element.text = "".join(letter for letter in text if letter in "\t\n" or letter >= " ")
    return made("r", element)


def replace(element: Element, *others: Element) -> None:
    parent = element.getparent()
    if parent is None:
        return
    at = parent.index(element)
    for other in reversed(others):
        parent.insert(at + 1, other)
    remove(element)


def remove(element: Element) -> None:
    parent = element.getparent()
    if parent is not None:
        parent.remove(element)


def all_of(root: Element, *names: str) -> Iterator[Element]:
    """Elements of these names, listed before any of them is changed."""
    return iter(list(root.iter(*names)))
