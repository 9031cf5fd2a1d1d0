"""What a row leaves behind, and whether a file holds it: by its id in tables, by pieces of its text anywhere else."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import mmap
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.atomic_files import sha256_file
from core.schema.columns import ADDED, ROW_ID
from core.tables.row_groups import batches
from pipelines.search.engine.copies import UNREAD_FIRST

# row: a table has the row. said: what a model answered about it, no text. text: a piece of its text stands there.
# other: only rows of other names have the text.
Held = Literal["row", "said", "text", "other"]

_LEAST, _MOST = 12, 24  # characters of a piece
_PIECES, _WORDS = 32, 24  # of a row, evenly
_LEAST_WORD = 5
_PLAIN = re.compile(r"[^\"'\\<>&\x00-\x1f\x7f]+")  # as CSV, JSON, HTML and repr() leave it
_WORD = re.compile(r"\w+")
_BLOCK = 1 << 22  # bytes of an unpacked file at a time
_NAMES = ("document", "same_as")
_LISTS = (b'"same_as"', b'"reason"')  # what stands in duplicates.json, unread.json and published.json
NO_TEXT = b"headrace"  # in the schema of tables that know rows by their ids only (core/tables/predictions.py)


@dataclass(frozen=True)
class Traces:
    """ids: of the rows in tables. documents: what passages call them. keys: of their vectors. texts: pieces that no
    other row of its table has. words: likewise, single ones. media: sha256 of files. encoded: the files in base64.
    """

    ids: frozenset[str] = frozenset()
    documents: frozenset[str] = frozenset()
    keys: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    media: frozenset[str] = frozenset()
    encoded: frozenset[str] = frozenset()

    def __or__(self, other: Traces) -> Traces:
        return Traces(**{f.name: getattr(self, f.name) | getattr(other, f.name) for f in fields(self)})

    def as_json(self) -> dict[str, list[str]]:
        return {f.name: sorted(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, document: Mapping[str, Iterable[str]]) -> Traces:
        return cls(**{name: frozenset(values) for name, values in document.items()})

    @property
    def spellings(self) -> list[str]:
        """Every piece as it may stand in a file of text."""
        found = [*self.texts, *self.encoded]
        return sorted({*found, *(json.dumps(text)[1:-1] for text in found)})

    def in_bytes(self, content: bytes | mmap.mmap) -> bool:
        return any(content.find(text.encode("utf-8", "surrogatepass")) >= 0 for text in self.spellings)

    def in_file(self, path: Path) -> Held | None:
        """How a file holds the row; None when it does not."""
        with path.open("rb") as file:
            head = file.read(6)
        if not head:
            return None
        table = _table(path, head)
        if table is not None:
            return self._in_table(*table)
        if self.media and sha256_file(path) in self.media:
            return "row"
        if head.startswith(b"\x1f\x8b"):
            return "text" if any(self.in_bytes(block) for block in _unpacked(path)) else None
        with path.open("rb") as file, closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as content:
            if head[:1] in (b"[", b"{") and self._named_in(content):
                return "row"
            return "text" if self.in_bytes(content) else None

    def _named_in(self, content: mmap.mmap) -> bool:
        """Whether JSON lists one of these documents, as an index does with copies and unread ones."""
        if not self.documents or all(content.find(key) < 0 for key in _LISTS):
            return False
        with suppress(ValueError, RecursionError):
            said = json.loads(content[:])
            rows = said.get(UNREAD_FIRST) if isinstance(said, dict) else said
            found = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
            named = (row.get(key) for row in found for key in _NAMES)
            return any(isinstance(name, str) and name in self.documents for name in named)
        return False

    def words_in(self, path: Path) -> bool:
        """Whether a vocabulary has a word that only this row has."""
        content = path.read_bytes()  # what begins a word there (a quote, a mark) differs, not what ends it
        spelt = {spelling for word in self.words for each in (word, word.lower())
                 for spelling in (each, json.dumps(each)[1:-1])}  # fmt: skip
        return any(f"{each}{end}".encode() in content for each in spelt for end in ('"', "\n"))

    def _in_table(self, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> Held | None:
        found: set[Held] = set()
        own = {"document": self.documents, "key": self.keys}  # where rows have no ids; else a source calls them so
        own = {ROW_ID: self.ids} if ROW_ID in schema.names else own
        columns = [name for name in own if name in schema.names]
        said = NO_TEXT in (schema.metadata or {})
        for batch in batches:
            if any(_has(batch[name], own[name]) for name in columns):
                found.add("said" if said else "row")
            if any(_mentions(batch[name], self.texts) for name in schema.names):
                found.add("other" if columns and not said else "text")
        order: tuple[Held, ...] = ("text", "row", "said", "other")
        return next((each for each in order if each in found), None)


def of_row(row: Mapping[str, Any], rest: pa.Table, *, media: Path | None) -> Traces:
    """What a row of a table of examples leaves behind. rest: the rows that stay. media: the row's file, if any."""
    cells = [value for name, value in row.items() if name not in ADDED and isinstance(value, str)]
    runs = [run for cell in cells for run in _pieces(cell)]
    words = sorted({word for cell in cells for word in _WORD.findall(cell) if len(word) >= _LEAST_WORD}, key=len)
    content = media.read_bytes() if media is not None else None
    return Traces(
        ids=frozenset({row[ROW_ID]}),
        texts=frozenset(_evenly(_only(_evenly(runs, 4 * _PIECES), rest), _PIECES)),
        words=frozenset(_only(words[: -_WORDS - 1 : -1], rest, ignore_case=True)),
        media=frozenset({hashlib.sha256(content).hexdigest()} if content else ()),
        encoded=frozenset({base64.b64encode(content).decode("ascii")} if content else ()),
    )


def read_table(path: Path) -> pa.ParquetFile | None:
    """A Parquet file, whatever it is called; None for any other."""
    with path.open("rb") as file:
        if file.read(4) != b"PAR1":
            return None
    with suppress(pa.ArrowInvalid, OSError):
        return pq.ParquetFile(path)
    return None


def _table(path: Path, head: bytes) -> tuple[pa.Schema, Iterator[pa.RecordBatch]] | None:
    if head.startswith(b"PAR1") and (parquet := read_table(path)) is not None:
        return parquet.schema_arrow, batches(parquet)
    if head == b"ARROW1":
        with suppress(pa.ArrowInvalid):
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            return reader.schema, (reader.get_batch(at) for at in range(reader.num_record_batches))
    return None


def _has(column: pa.Array, values: frozenset[str]) -> bool:
    if not _is_text(column.type):
        return False
    return bool(pc.any(pc.is_in(column, value_set=pa.array(sorted(values), column.type))).as_py())


def _mentions(column: pa.Array, texts: Iterable[str], *, ignore_case: bool = False) -> bool:
    return _is_text(column.type) and any(
        pc.any(pc.match_substring(column, text, ignore_case=ignore_case)).as_py() for text in texts
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _only(pieces: Iterable[str], rest: pa.Table, *, ignore_case: bool = False) -> list[str]:
    """Those that stand in no other row."""
    columns = [rest[name] for name in rest.schema.names if name not in ADDED]
    return [p for p in pieces if not any(_mentions(column, [p], ignore_case=ignore_case) for column in columns)]


def _pieces(text: str) -> Iterator[str]:
    """Parts of a text that look alike in every kind of file; no single word, which a vocabulary may have."""
    for run in _PLAIN.findall(text):
        for start in range(0, len(run), _MOST):
            piece = run[start : start + _MOST].strip()
            if len(piece) >= _LEAST and not (piece.isalnum() and piece.isascii()):
                yield piece


def _evenly(pieces: list[str], most: int) -> list[str]:
    return pieces[:: max(1, -(-len(pieces) // most))]


def _unpacked(path: Path) -> Iterator[bytes]:
    """Blocks of a gzip file, each with the end of the one before."""
    before = b""
    with suppress(EOFError, OSError), gzip.open(path) as file:
        while block := file.read(_BLOCK):
            yield before + block
            before = block[-4 * _MOST :]
