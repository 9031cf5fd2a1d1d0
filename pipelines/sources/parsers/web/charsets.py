"""The bytes of a web page -> its characters, as browsers read them. Source: WHATWG, Encoding Standard.

A page's byte order mark decides, then what it declares, then the setting `documents.encoding`. Bytes that are none of
that encoding are replaced (U+FFFD): one odd byte costs a letter and not the page.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping

from pipelines.sources.parsers import Unreadable

_HEAD_BYTES = 2**16  # in which a declaration is looked for; browsers go on until the head ends
_DECLARED = re.compile(
    rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)|^\s*<\?xml[^>]+encoding\s*=\s*[\"']\s*([\w.:-]+)", re.IGNORECASE
)
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_MARKS: Mapping[bytes, str] = {
    b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16",
    b"<\0": "utf-16-le", b"\0<": "utf-16-be",  # without a mark, but no other encoding begins so
}  # fmt: skip
# What a browser takes for the encoding that Python calls so.
_MEANT: Mapping[str, str] = {
    "ascii": "cp1252", "iso8859-1": "cp1252", "iso8859-9": "cp1254", "iso8859-11": "cp874", "tis-620": "cp874",
    "gb2312": "gb18030", "gbk": "gb18030", "euc_kr": "cp949", "shift_jis": "cp932", "big5": "big5hkscs",
    "cp950": "big5hkscs",
    # A page whose meta element can be read is not in an encoding of two or four bytes.
    "utf-16": "utf-8", "utf-16-le": "utf-8", "utf-16-be": "utf-8", "utf-32": "utf-8", "utf-32-le": "utf-8",
    "utf-32-be": "utf-8",
}  # fmt: skip
# Labels that Python does not know.
_LABELS: Mapping[str, str] = {
    "unicode-1-1-utf-8": "utf-8", "unicode11utf8": "utf-8", "unicode20utf8": "utf-8", "unicode": "utf-8",
    "ucs-2": "utf-8", "iso-10646-ucs-2": "utf-8", "csunicode": "utf-8", "user-defined": "cp1252", "sjis": "cp932",
    "ms_kanji": "cp932", "windows-31j": "cp932", "dos-874": "cp874", "windows-874": "cp874", "windows-949": "cp949",
    "ks_c_5601-1989": "cp949", "korean": "cp949", "cn-big5": "big5hkscs", "x-big5": "big5hkscs",
    "gb_2312-80": "gb18030", "gb_2312": "gb18030", "iso-8859-8-i": "iso8859-8", "logical": "iso8859-8",
    "visual": "iso8859-8", "sun_eu_greek": "iso8859-7", "koi": "koi8_r", "koi8": "koi8_r", "koi8-ru": "koi8_u",
    "mac-roman": "mac_roman", "mac-ukrainian": "mac_cyrillic",
}  # fmt: skip
_NO_CHARSETS = frozenset(("idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "utf-7"))
_HIGH_RUN = re.compile(rb"[\x80-\xff]{6}|[\xc0-\xff]{4}")  # no word of a western language has so many accents


def decoded(content: bytes, encoding: str) -> str:
    """The text of a page, with U+FFFD for each byte that is none. encoding: of a page that declares none.

    Raises Unreadable.
    """
    for mark, name in _MARKS.items():
        if content.startswith(mark):
            return content.decode(name, "replace").removeprefix("\ufeff")
    declared = _declared(content)
    name = declared or _codec(encoding) or encoding
    try:
        return content.decode(name)
    except LookupError:
        raise Unreadable(f"its encoding {name!r} is not known") from None
    except UnicodeDecodeError as error:
        return _mended(content, name, declared is not None, error.start)


def _mended(content: bytes, name: str, declared: bool, first: int) -> str:
    """The text of a page that is not wholly in its encoding."""
    text = content.decode(name, "replace")
    strays = text.count("\ufffd")
    known = sum(not letter.isascii() for letter in text) - strays
    if declared and name != "utf-8":
        return text
    if not known and not _HIGH_RUN.search(content):
        return content.decode("cp1252", "replace")  # what browsers fall back to
    if declared or strays <= known:
        return text
    raise Unreadable(f"not {name.upper()} (byte {first}), and it declares no other encoding")


def _declared(content: bytes) -> str | None:
    found = _DECLARED.search(_COMMENT.sub(b"", content[:_HEAD_BYTES]))
    return _codec((found[1] or found[2]).decode("ascii", "replace")) if found else None


def _codec(label: str) -> str | None:
    """The codec that a browser would use for a label; None for one that is no label of a charset."""
    label = label.strip().lower()
    for spelling in (label, label.removeprefix("x-")):
        if spelling in _LABELS:
            return _LABELS[spelling]
        try:
            found = codecs.lookup(spelling)
        except (LookupError, ValueError):
            continue
        # ``_is_text_encoding`` is how bytes.decode() itself tells "hex" and "zip" from charsets.
        if found._is_text_encoding and found.name not in _NO_CHARSETS:
            return _MEANT.get(found.name, found.name)
    return None
