"""chunk: validated/ -> chunks/. Documents of the same content once each, cut into passages of the embedder's tokens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.content import text_key
from pipelines.errors import BadData, BadRequest
from pipelines.passages import VERSION, embedded, passages
from pipelines.progress import Progress
from pipelines.schema.index import Chunk
from pipelines.search.embedder import Reader, load_reader, locked_base
from pipelines.stage import stage_main
from pipelines.workspace import Job, replacing, require_whole, write_json, write_manifest

CHUNKS = pa.schema(
    [
        ("chunk_id", pa.string()),  # sha256 of all below and of the rules and settings that cut it
        ("document", pa.string()),  # the row's id, or its path below the source
        ("position", pa.int32()),  # 0, 1, 2 ... in its document
        ("start", pa.int64()),  # text = document[start:end], in characters
        ("end", pa.int64()),
        ("heading", pa.string()),
        ("text", pa.string()),
        ("tokens", pa.int32()),  # of heading and text, special tokens included
        ("source", pa.string()),  # where the document stood
        ("key", pa.string()),  # sha256 of what is embedded: heading and text
    ]
)
_MARKDOWN = (".md", ".markdown")
_DOCUMENTS_AT_ONCE = 256


@dataclass
class Counts:
    """What the stage saw; grows as documents go by."""

    documents: int = 0
    chunks: int = 0
    tokens: int = 0
    longest: int = 0
    empty: list[str] = field(default_factory=list)
    duplicates: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Document:
    id: str
    text: str
    title: str
    place: str

    @property
    def markdown(self) -> bool:
        return Path(self.id).suffix.lower() in _MARKDOWN or Path(self.place).suffix.lower() in _MARKDOWN


def run(job: Job) -> None:
    """Cut an index's documents into passages."""
    validated = job.folder / "validated"
    require_whole(validated)
    settings = job.section("chunk", Chunk)
    base = locked_base(job)
    reader = load_reader(base.folder)
    if settings.tokens > reader.max_tokens:
        raise BadRequest(
            f"{job.settings_file}: chunk.tokens: {settings.tokens}, but {job.settings['embed']['model']} reads at most "
            f"{reader.max_tokens} tokens of a text. Write at most {reader.max_tokens}, or name another embed.model."
        )
    counts = Counts()
    source = pq.ParquetFile(validated / "examples.parquet")
    with replacing(job.folder / "chunks") as folder:
        documents = distinct(read_documents(source), counts)
        with (
            pq.ParquetWriter(folder / "chunks.parquet", CHUNKS, compression="zstd") as writer,
            Progress("chunk", total=source.metadata.num_rows, unit="documents") as progress,
        ):
            for group in _groups(documents, _DOCUMENTS_AT_ONCE):
                rows = [row for document in group for row in chunks(document, reader, settings, base.sha256, counts)]
                if rows:
                    writer.write_table(pa.Table.from_pylist(rows, CHUNKS))
                progress.advance(len(group))
        if not counts.chunks:
            raise BadData(f"{validated / 'examples.parquet'}: no document has a text, so there is nothing to index.")
        write_json(folder / "duplicates.json", counts.duplicates)
        write_manifest(folder, _facts(counts))


def read_documents(source: pq.ParquetFile) -> Iterator[Document]:
    """The rows of validated/examples.parquet as documents, a batch at a time."""
    has = set(source.schema_arrow.names)
    name = next(column for column in ("id", "path", "row_id") if column in has)
    wanted = [column for column in (name, "row_id", "text", "title", "place") if column in has]
    for batch in source.iter_batches(batch_size=_DOCUMENTS_AT_ONCE, columns=list(dict.fromkeys(wanted))):
        for row in batch.to_pylist():
            identity = row["row_id"] if row[name] is None else row[name]
            title = " ".join((row.get("title") or "").split())
            yield Document(str(identity), row["text"] or "", title, row.get("place") or "")


def distinct(documents: Iterator[Document], counts: Counts) -> Iterator[Document]:
    """Each content once, the first of it; the others are counted and listed.

    Raises BadData when one id stands for two contents: a passage could not say where it is from.
    """
    first: dict[str, str] = {}
    named: dict[str, str] = {}
    for document in documents:
        counts.documents += 1
        key = text_key(document.text)
        if named.setdefault(document.id, key) != key:
            raise BadData(
                f"document id {document.id!r} stands for two different texts (one is at {document.place!r}). "
                "Give each document an id of its own, or map another column to `id`."
            )
        if key in first:
            counts.duplicates.append({"document": document.id, "same_as": first[key]})
        else:
            first[key] = document.id
            yield document


def chunks(
    document: Document, reader: Reader, settings: Chunk, embedder: str, counts: Counts
) -> Iterator[Mapping[str, Any]]:
    """The document's rows of chunks.parquet."""
    cut = passages(
        document.text,
        reader,
        tokens=settings.tokens,
        overlap=settings.overlap,
        title=document.title,
        markdown=document.markdown,
    )
    if not cut:
        counts.empty.append(document.id)
    for position, passage in enumerate(cut):
        text = document.text[passage.start : passage.end]
        row = {
            "document": document.id,
            "position": position,
            "start": passage.start,
            "end": passage.end,
            "heading": passage.heading,
            "text": text,
            "tokens": passage.tokens,
            "source": document.place,
            "key": _sha256(embedded(passage.heading, text)),
        }
        counts.chunks += 1
        counts.tokens += passage.tokens
        counts.longest = max(counts.longest, passage.tokens)
        cut_by = [VERSION, settings.tokens, settings.overlap, embedder]
        yield {"chunk_id": _sha256(json.dumps([cut_by, row], sort_keys=True)), **row}


def _groups(documents: Iterator[Document], size: int) -> Iterator[list[Document]]:
    group: list[Document] = []
    for document in documents:
        group.append(document)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _facts(counts: Counts) -> dict[str, Any]:
    return {
        "documents": counts.documents,
        "duplicates": len(counts.duplicates),
        "empty": counts.empty,
        "chunks": counts.chunks,
        "tokens": {"total": counts.tokens, "longest": counts.longest},
        "rules": VERSION,
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


if __name__ == "__main__":
    stage_main("chunk", run, kind="index")
