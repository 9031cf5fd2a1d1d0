"""How documents become text, a file a format. HTML and DOCX become Markdown, so that headings stay headings.

What people wrote elsewhere is parsed in a process of its own (_parsing.py), within limits. The libraries are imported
there, when a document needs them. Raise a format's version when the same file gives other text: it is part of a
chunk's id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

MARKDOWN, TEXT = "markdown", "text"
# A soft hyphen and marks without width are no part of a word, but where a script needs them: joiners, and in scripts
# that write no blanks (Thai, Lao, Burmese, Khmer) the blank without width, which parts words.
_LATIN, _WITHOUT_BLANKS = "\u0000-\u024f", "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_INVISIBLE = re.compile(
    rf"[\u00ad\u180e\u2060-\u2064\ufeff]|(?<![{_WITHOUT_BLANKS}])\u200b|\u200b(?![{_WITHOUT_BLANKS}])"
    rf"|(?<=[{_LATIN}])[\u200c\u200d](?=[{_LATIN}])"
)


@dataclass(frozen=True)
class Kind:
    """format: of the text that comes out. apart: parsed in a process of its own, by the file of that name."""

    name: str
    version: int
    format: str
    apart: bool = True

    @property
    def parser(self) -> str:
        return f"{self.name} {self.version}"


_PLAIN = Kind("text", 1, TEXT, apart=False)
_MARKDOWN = Kind("markdown", 2, MARKDOWN)
_HTML = Kind("html", 2, MARKDOWN)
_KINDS: Mapping[str, Kind] = {
    ".md": _MARKDOWN,
    ".markdown": _MARKDOWN,
    ".html": _HTML,
    ".htm": _HTML,
    ".xhtml": _HTML,
    ".pdf": Kind("pdf", 2, TEXT),
    ".docx": Kind("docx", 2, MARKDOWN),
}
Media = Literal["picture", "sound"]
_PICTURES = {
    ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".ico", ".avif", ".heic",
}  # fmt: skip
_SOUNDS = {".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".m4a", ".aac", ".wma"}


@dataclass(frozen=True)
class Parsed:
    """A document's text; in it, a form feed ends a page. title: "" where the file does not say it.

    unread: what of the file is not in the text, in words; "" where nothing is missing.
    """

    text: str
    title: str = ""
    unread: str = ""


class Unreadable(Exception):
    """Why a document cannot be parsed, in words."""


def kind_of(name: str) -> Kind:
    """By the end of a file's name; anything that is not known is text: code, logs, notes."""
    return _KINDS.get(PurePosixPath(name.lower()).suffix, _PLAIN)


def media_kind(name: str) -> Media | None:
    """What a file among documents is, by its name, in which there is no text; None: a document, or a table."""
    suffix = PurePosixPath(name.lower()).suffix
    return "picture" if suffix in _PICTURES else "sound" if suffix in _SOUNDS else None


def without_invisible(text: str) -> str:
    """A text without characters that nobody sees and nobody types: words and codes are found as they are read."""
    return _INVISIBLE.sub("", text)
