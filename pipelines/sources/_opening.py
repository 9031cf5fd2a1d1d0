"""Opening files of rows, or of one text: which there are, packed or not, capped lines, and what is refused at once."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

from core.errors import BadData, BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record

_PACKED = (".gz",)

BLANK = "blank"  # the rule by which a line or a row that holds nothing is no example
BYTE_ORDER_MARK = "\ufeff"
MAX_CHARS = 10 * 2**20  # of a line or a document; a longer one is a fault, not a crash
_HEAD_BYTES = 1024
_BUFFER_BYTES = 2**17
SMALL_BYTES = 64 * 2**20  # unpacked: never a bomb
MOST_TIMES = 200  # packed text is a tenth of its size, a log a fiftieth; deflate's end is 1:1,032
_LONGEST_NAME = 60  # characters, of the end (the suffix says how to read it): 255 bytes at most in any script
_NOT_IN_NAMES = re.compile(r"[^\w.+ ()@=,-]")  # a slash that came as %2F, NUL, a new line ...
_HTML = (b"<!doctype html", b"<html")


def files_of(files: Files, suffixes: Sequence[str]) -> Iterator[Found]:
    """The source's one file, or those of several whose names have the suffixes. Raises BadRequest without any."""
    some = False
    for found in files:
        if files.single or suffix_of(found.name) in suffixes:
            some = True
            yield found
    if not some:
        raise BadRequest(f"{files.folder} holds no file that ends in {' or '.join(suffixes)}.")


@contextmanager
def readable(found: Found, encoding: str = "utf-8") -> Iterator[None]:
    """Around all reading of a file: turns a torn or unreadable one into a message."""
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise BadRequest(f"{found.name}: broken gzip ({error}). Fetch {found.path} again.") from None
    except UnicodeError as error:  # an encoding of two bytes a character, cut in the middle or without its mark
        raise BadRequest(f"{found.name}: {_not(encoding, error)}.") from None
    except OSError as error:
        raise BadRequest(f"{found.name}: {found.path} cannot be read ({error.strerror or error}).") from None


@contextmanager
def open_binary(found: Found) -> Iterator[BinaryIO]:
    """The bytes of a file of data, unpacked. Raises BadData for an empty file, BadRequest for a web page."""
    with readable(found), _unpacked(found) as file:
        head = file.read(_HEAD_BYTES)
        if not head:
            raise BadData(f"{found.name}: the file is empty ({found.path}).")
        if is_html(head):
            raise BadRequest(f"{found.name}: an HTML page where data was expected ({found.path}). Check the address.")
        file.seek(0)
        yield file


def most_unpacked(path: Path) -> int:
    """To how many bytes a packed file may unpack."""
    return max(SMALL_BYTES, path.stat().st_size * MOST_TIMES)


def _unpacked(found: Found) -> BinaryIO:
    if found.path.suffix.lower() != ".gz":
        return found.path.open("rb")
    return cast(BinaryIO, io.BufferedReader(_Unpacking(found), _BUFFER_BYTES))


class _Unpacking(gzip.GzipFile):
    """A gzip's content, as long as it is in proportion. Raises BadRequest for a bomb."""

    def __init__(self, found: Found) -> None:
        super().__init__(found.path)
        self._found, self._most = found, most_unpacked(found.path)

    def readinto(self, buffer: Any) -> int:
        size = super().readinto(buffer)
        if self.tell() > self._most:
            raise BadRequest(
                f"{self._found.name}: a gzip that unpacks to more than {MOST_TIMES} times its size "
                f"({self._found.path}). It looks like a bomb: unpack it by hand if it is none."
            )
        return size


@contextmanager
def open_text(found: Found, encoding: str, *, newline: str = "") -> Iterator[IO[str]]:
    """The text of a file; bytes that the encoding does not know are kept as surrogates, so that a row can be told.

    newline: what ends a line, as io.TextIOWrapper has it: "" stands for LF, CRLF and a CR alone.
    """
    require_known(encoding)
    with open_binary(found) as file:
        text = io.TextIOWrapper(file, encoding=encoding, errors="surrogateescape", newline=newline)
        with readable(found, encoding):
            yield text


def require_known(encoding: str) -> None:
    """Raise BadRequest for an encoding that Python has not."""
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise BadRequest(f"encoding {encoding!r} is not known to Python. Examples: utf-8, latin-1, cp1252.") from None


def is_html(head: bytes) -> bool:
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_HTML)


def too_long(name: str, cell: object) -> str | None:
    """What is wrong with a cell that is longer than any document may be; else None."""
    if isinstance(cell, str) and len(cell) > MAX_CHARS:
        return f"{name}: {len(cell):,} characters; at most {MAX_CHARS:,} are read"
    return None


class TooLong(Exception):
    """A line beyond MAX_CHARS; the rest of it has been skipped."""


class Lines(Iterator[str]):
    """Lines with their ends, numbered from 1, without the mark of byte order; reading goes on after a TooLong."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.number = 0

    def __next__(self) -> str:
        line = self._file.readline(MAX_CHARS + 1)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) <= MAX_CHARS:
            return line.removeprefix(BYTE_ORDER_MARK) if self.number == 1 else line
        length = len(line)
        while line and not line.endswith(("\n", "\r")):
            line = self._file.readline(MAX_CHARS)
            length += len(line)
        raise TooLong(f"a line of {length:,} characters; at most {MAX_CHARS:,} are read")


def numbered_lines(file: IO[str], found: Found, encoding: str) -> Iterator[tuple[int, str, str | None]]:
    """Each line's number, the line without its end, and what is wrong with it or None."""
    lines = Lines(file)
    while True:
        try:
            with readable(found, encoding):
                line = next(lines).rstrip("\r\n")
        except StopIteration:
            return
        except TooLong as error:
            yield lines.number, "", str(error)
            continue
        yield lines.number, line, not_text(line, encoding)


def undecoded(text: str, encoding: str) -> str | None:
    """What is wrong with text that open_text() could not decode in full: "not utf-8 (byte 17)"; else None."""
    if text.isascii():
        return None
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        try:
            text.encode(encoding, "surrogateescape").decode(encoding)
        except UnicodeEncodeError:
            return f"not {encoding.upper()}"
        except UnicodeError as error:
            return _not(encoding, error)
        return f"not {encoding.upper()}"
    return None


def _not(encoding: str, error: UnicodeError) -> str:
    return f"not {encoding.upper()} ({f'byte {error.start}' if isinstance(error, UnicodeDecodeError) else error})"


def not_text(text: str, encoding: str) -> str | None:
    """What undecoded() says; or that there is NUL, which files hold that were torn or have two bytes a character."""
    return _nul(text) or undecoded(text, encoding)


def _nul(text: str) -> str | None:
    return f"not text: it holds NUL (character {text.index(chr(0)) + 1:,})" if "\0" in text else None


def document(path: Path, encoding: str) -> tuple[str | None, str | None]:
    """A whole file as one text, and what is wrong with it or None. Line ends become "\\n", a byte order mark goes."""
    require_known(encoding)
    try:
        with path.open(encoding=encoding, errors="surrogateescape") as file:
            text = file.read(MAX_CHARS + 1).removeprefix(BYTE_ORDER_MARK)
    except UnicodeError as error:
        return None, _not(encoding, error)
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    if len(text) > MAX_CHARS:
        return None, f"longer than {MAX_CHARS:,} characters"
    return text, undecoded(text, encoding)


def one_file(found: Found, data: Data, contract: Contract, values: Mapping[str, Any]) -> Record:
    """A file that is one example: its text, or its path where its content is media; and what its name says."""
    told = data.columns_of_name(found.name) if data.name_pattern is not None else {}
    misnamed = None if told is not None else f"its name is not as name_pattern has it ({data.name_pattern})"
    values = {**dict.fromkeys(data.name_columns), **(told or {}), **values}
    if contract.media:
        return Record({**values, "path": found.path}, found.name, fault=misnamed)
    text, fault = document(found.path, data.encoding)
    fault = misnamed or fault or (None if text is None else _nul(text))
    return Record({**values, "path": found.name, "text": text}, found.name, fault=fault)


def download_name(url: str) -> str:
    """What the file is called here: the last part of the address's path, as far as a name may hold it."""
    try:
        path = urlsplit(url).path
    except ValueError:  # the request will say so
        path = ""
    name = _NOT_IN_NAMES.sub("_", PurePosixPath(unquote(path)).name)[-_LONGEST_NAME:]
    return name.lstrip(".") or "download"


def suffix_of(name: str) -> str:
    """The suffix that says the format, in lower case: ".csv" of "rows.CSV.gz"."""
    path = PurePosixPath(name.lower())
    return (path.with_suffix("") if path.suffix in _PACKED else path).suffix
