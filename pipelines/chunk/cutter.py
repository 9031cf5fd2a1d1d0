"""Documents -> rows of chunks.parquet, with all that decides them: cut, or taken over from an earlier run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.atomic_files import sha256_file
from core.errors import BadRequest
from core.manifest import as_recorded, earlier_manifest
from core.schema.search import Chunk
from core.weights.pooling import prompts_of
from pipelines.chunk.documents import Document
from pipelines.search.text.passages import VERSION, embedded, passages
from pipelines.search.vectors.token_reader import Reader, load_reader

FILE, DOCUMENTS_FILE = "chunks.parquet", "documents.parquet"
CHUNKS = pa.schema(
    [
        ("chunk_id", pa.string()),  # sha256 of all below, of the document's parser, and of the rules and settings
        ("document", pa.string()),  # the row's id, or its path below the source
        ("position", pa.int32()),  # 0, 1, 2 ... in its document
        (
            "start",
            pa.int64(),
        ),  # text = document[start:end], in characters; before it, the head row of a table that begins above
        ("end", pa.int64()),
        ("page", pa.int32()),  # on which it starts, from 1; null where there are no pages
        ("heading", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.int32()),  # of heading and text, special tokens included
        ("source", pa.string()),  # where the document stood
        ("labels", pa.list_(pa.string())),  # who may read it, sorted: one of them is enough; none: everybody
        ("key", pa.string()),  # sha256 of what is embedded: heading and text
    ]
)
Earlier = dict[str, pa.Table]  # a document's rows of chunks.parquet, by its identity
DOCUMENTS = pa.schema(
    [
        ("document", pa.string()),
        ("identity", pa.string()),  # sha256 of all of a document that decides its rows (pipelines/chunk/documents.py)
        ("content", pa.string()),  # equal for documents of equal text
        ("chunks", pa.int32()),  # rows of chunks.parquet, which has the documents in this order
    ]
)


@dataclass(frozen=True)
class Cutter:
    """Documents -> rows of chunks.parquet. The tokenizer is loaded when there is something to cut."""

    settings: Chunk
    model: str
    folder: Path  # of the embedder
    settings_file: Path

    @cached_property
    def method(self) -> dict[str, Any]:
        """What beside a document decides its passages; it is part of a chunk's id.

        The tokenizer, not the weights: an embedder that was trained further cuts as it did.
        """
        path = self.folder / "tokenizer.json"
        tokenizer = sha256_file(path) if path.is_file() else None
        return {
            "rules": VERSION, "tokens": self.settings.tokens, "overlap": self.settings.overlap, "tokenizer": tokenizer,
        }  # fmt: skip

    @cached_property
    def reader(self) -> Reader:
        reader = load_reader(self.folder)
        most = reader.max_tokens - sum(reader.lengths([prompts_of(self.folder).passage], special=False))
        if self.settings.tokens > most:
            raise BadRequest(
                f"{self.settings_file}: chunk.tokens: {self.settings.tokens}, but {self.model} reads at most "
                f"{most} tokens of a text. Write at most {most}, or name another embed.model."
            )
        return reader

    def cut(self, documents: Sequence[Document]) -> Iterator[pa.Table]:
        """A table of rows for each document."""
        if not documents:
            return
        self.reader.learn(document.text for document in documents)
        rows = [list(self._rows(document)) for document in documents]
        table, start = pa.Table.from_pylist([row for of_document in rows for row in of_document], CHUNKS), 0
        for of_document in rows:
            yield table.slice(start, len(of_document))
            start += len(of_document)

    def _rows(self, document: Document) -> Iterator[Mapping[str, Any]]:
        cut = passages(
            document.text,
            self.reader,
            tokens=self.settings.tokens,
            overlap=self.settings.overlap,
            title=document.title,
            markdown=document.markdown,
            lines=document.lines,
        )
        for position, passage in enumerate(cut):
            text = passage.text(document.text)
            row = {
                "document": document.id,
                "position": position,
                "start": passage.start,
                "end": passage.end,
                "page": document.page(passage.start),
                "heading": passage.heading,
                "text": text,
                "tokens": passage.tokens,
                "source": document.place,
                "labels": list(document.labels or ()),
                "key": _sha256(embedded(passage.heading, text)),
            }
            cut_by = [self.method, document.parser]
            yield {"chunk_id": _sha256(json.dumps([cut_by, row], sort_keys=True)), **row}


def read_earlier(folder: Path, method: Mapping[str, Any]) -> tuple[Earlier, dict[str, str]]:
    """What `folder` holds of documents, by their identity: rows of chunks.parquet, and the key of the content.

    So a document that is what it was is not cut again, and the key, which takes longer to compute than the identity, is
    not computed. Nothing when it was cut by other rules or settings, or one of its files is damaged.
    """
    manifest = earlier_manifest(folder)
    whole = manifest.get("method") == method and all(
        as_recorded(folder / name, manifest) for name in (FILE, DOCUMENTS_FILE)
    )
    tables: Earlier = {}
    contents: dict[str, str] = {}
    if not whole or not (rows := pq.read_table(folder / FILE)).schema.equals(CHUNKS):
        return tables, contents
    documents, start = pq.read_table(folder / DOCUMENTS_FILE, columns=["identity", "content", "chunks"]), 0
    for identity, content, count in zip(*documents.to_pydict().values(), strict=True):
        tables[identity], contents[identity] = rows.slice(start, count), content
        start += count
    return tables, contents


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
