"""gettext: catalogs of translated messages, a row a message: .po as translators edit them, .mo as programs read them.

`source` is the message, `target` its translation, `context` what tells equal messages apart, `catalog` the file's name
without its suffix, `language` what the catalog's head says. A plural is a row of its own, with the last of its forms.
Messages that nobody translated, or that are marked as fuzzy, are left out. Source: GNU gettext's manual, 3 and 10.3.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from core.errors import BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import (
    MAX_CHARS,
    files_of,
    not_text,
    numbered_lines,
    open_binary,
    open_text,
    readable,
    require_known,
    suffix_of,
    too_long,
)

SUFFIXES = ()  # a folder of catalogs is the usual source: `reader: gettext` says it
_NAMES = (".po", ".mo")
COLUMNS = ("source", "target", "context", "catalog", "language")
FUZZY, UNTRANSLATED = "fuzzy", "not translated"  # the rules by which a message is no example
_MAGIC = {b"\xde\x12\x04\x95": "<", b"\x95\x04\x12\xde": ">"}  # how a .mo begins -> the order of its bytes
_CONTEXT = "\x04"  # behind the context, in a .mo
_LINE = re.compile(r'(?:(msgctxt|msgid_plural|msgid|msgstr)(?:\[(\d+)\])?\s*)?"((?:[^"\\]|\\.)*)"$')
_BYTE = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|([0-7]{1,3}))")
_ESCAPE = re.compile(rf"((?:{_BYTE.pattern})+)|\\(?P<letter>.)")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_FIELD = re.compile(r"^(Language|Content-Type):\s*(.*?)\s*$", re.MULTILINE)


@dataclass
class _Message:
    """An entry of a .po as it is read. first: the number of its first line. lines: as they stand there.

    parts: of the text of each keyword, msgstr[1] as msgstr1. last: the keyword that a line without one goes on with.
    """

    first: int
    fuzzy: bool = False
    fault: str | None = None
    lines: list[str] = field(default_factory=list)
    parts: dict[str, list[str]] = field(default_factory=dict)
    last: str = ""
    chars: int = 0

    def add(self, number: int, line: str, match: re.Match[str] | None, fault: str | None, encoding: str) -> None:
        """Take the next line, with what is known to be wrong with it; behind the first fault nothing is kept."""
        keyword, form, text = match.groups() if match else (None, None, "")
        if keyword:
            self.last = keyword + (form or "0" if keyword == "msgstr" else "")
        self.chars += len(line)
        if self.chars > MAX_CHARS:
            fault = f"a message of more than {MAX_CHARS:,} characters"
        elif not fault and not (match and self.last):
            fault = "neither a keyword with a quoted text nor a comment"
        if self.fault is None:
            self.lines.append(line)
            self.fault = f"line {number}: {fault}" if fault else None
        if self.fault is None:
            self.parts.setdefault(self.last, []).append(_plain(text, encoding))

    def text(self, keyword: str) -> str | None:
        return "".join(self.parts[keyword]) if keyword in self.parts else None

    @property
    def forms(self) -> list[str]:
        """The forms of its translation."""
        return ["".join(parts) for keyword, parts in self.parts.items() if keyword.startswith("msgstr")]

    @property
    def complete(self) -> bool:
        """Whether what follows a blank line, and the next msgid, are of another message."""
        return self.fault is not None or any(keyword.startswith("msgstr") for keyword in self.parts)


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    require_known(data.encoding)
    for found in files_of(files, _NAMES):
        records = _of_mo(found, data.encoding) if suffix_of(found.name) == ".mo" else _of_po(found, data.encoding)
        yield Table(found.name, COLUMNS, records)


def _of_po(found: Found, encoding: str) -> Iterator[Record]:
    head: Mapping[str, str] = {}
    for message in _messages(found, encoding):
        place = f"{found.name}:{message.first}"
        source = message.text("msgid")
        if message.fault or source is None:
            yield Record({}, place, fault=message.fault or "no msgid", raw="\n".join(message.lines))
        elif not source:
            head = _head("".join(message.forms), found, encoding)
        else:
            plural, rule = message.text("msgid_plural"), FUZZY if message.fuzzy else None
            messages = [source] if plural is None else [source, plural]
            yield from _rows(messages, message.forms, message.text("msgctxt"), head, found, place, rule)


def _messages(found: Found, encoding: str) -> Iterator[_Message]:
    """The entries of a .po, the head among them. One with a line that is none of the format has that fault."""
    message: _Message | None = None
    fuzzy = False  # a mark stands before the entry that it is about
    with open_text(found, encoding) as file:
        for number, line, fault in numbered_lines(file, found, encoding):
            line = line.strip()
            if line.startswith("#") or not line:
                if message and message.complete:
                    yield message
                    message = None
                fuzzy = fuzzy or (line.startswith("#,") and "fuzzy" in re.split(r"[,\s]+", line))
                continue
            match = _LINE.match(line)
            if message is None or (message.complete and match and match[1] in ("msgctxt", "msgid")):
                if message is not None:
                    yield message
                message, fuzzy = _Message(number, fuzzy=fuzzy), False
            message.add(number, line, match, fault, encoding)
    if message is not None:
        yield message


def _plain(text: str, encoding: str) -> str:
    """The text with C's escapes read; those of bytes, one behind the other, are decoded together."""

    def read(match: re.Match[str]) -> str:
        if letter := match["letter"]:
            return _ESCAPED.get(letter, letter)
        found = (int(base_16, 16) if base_16 else int(base_8, 8) % 256 for base_16, base_8 in _BYTE.findall(match[0]))
        return bytes(found).decode(encoding, "replace")

    return _ESCAPE.sub(read, text)


def _of_mo(found: Found, encoding: str) -> Iterator[Record]:
    with open_binary(found) as file:
        content = file.read()
    order = _MAGIC.get(content[:4])
    if order is None:
        raise BadRequest(f"{found.name}: not a catalog of gettext: a .mo begins with its magic number ({found.path}).")
    head: Mapping[str, str] = {}
    try:
        count, ids, strings = struct.unpack_from(f"{order}3I", content, 8)
        for at in range(count):
            key, said = (_text(content, table + 8 * at, order, found, encoding) for table in (ids, strings))
            place = f"{found.name}:{at + 1}"
            if fault := not_text(key.replace("\0", "") + said.replace("\0", ""), encoding):
                yield Record({}, place, fault=fault)
            elif not key:
                head = _head(said, found, encoding)
            else:
                context, _, message = key.rpartition(_CONTEXT)
                yield from _rows(message.split("\0"), said.split("\0"), context or None, head, found, place, None)
    except struct.error as error:
        raise BadRequest(f"{found.name}: a catalog that was cut off ({error}). Fetch {found.path} again.") from None


def _text(content: bytes, at: int, order: str, found: Found, encoding: str) -> str:
    """The text whose length and place stand at `at`. Raises struct.error where it lies outside of the file."""
    length, start = struct.unpack_from(f"{order}2I", content, at)
    if start + length > len(content):
        raise struct.error(f"a text ends at byte {start + length:,} of {len(content):,}")
    with readable(found, encoding):
        return content[start : start + length].decode(encoding, "surrogateescape")


def _rows(
    messages: list[str], forms: list[str], context: str | None, head: Mapping[str, str], found: Found, place: str,
    rule: str | None,
) -> Iterator[Record]:  # fmt: skip
    """The message with the first form of its translation, and its plural with the last."""
    kept = {"context": context, "catalog": PurePosixPath(found.name).stem, "language": head.get("Language") or None}
    for message, form in zip(messages, (forms[:1], forms[-1:]), strict=False):
        text = "".join(form)
        fault = too_long("source", message) or too_long("target", text)
        left_out = rule or (None if text else UNTRANSLATED)
        yield Record({"source": message, "target": text, **kept}, place, fault=fault, left_out=left_out)


def _head(text: str, found: Found, encoding: str) -> Mapping[str, str]:
    """The fields of a catalog's head. Raises BadRequest where it names another encoding than the recipe."""
    told = dict(_FIELD.findall(text))
    charset = re.search(r"charset=([\w.:-]+)", told.get("Content-Type", ""))
    if charset and charset[1] != "CHARSET":  # of a template
        try:
            named = codecs.lookup(charset[1]).name
        except LookupError:
            named = charset[1]
        if named not in (codecs.lookup(encoding).name, "ascii"):
            raise BadRequest(
                f"{found.name}: its head says charset={charset[1]}, and it was to be read as {encoding}. "
                f"Set data.encoding: {charset[1]}."
            )
    return told
