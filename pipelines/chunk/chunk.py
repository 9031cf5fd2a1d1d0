"""chunk: validated/ -> chunks/. Documents of the same content once each, cut into passages of the embedder's tokens.

A document of which nothing says who may read it is set aside in quarantine.parquet, with the reason. One that was read
in part, as a PDF some of whose pages are pictures, stands in in_part.json.

Rows of documents that are what they were are taken over from the earlier chunks/; the bytes do not show it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.atomic_files import replacing, sha256_json, write_json
from core.errors import BadData
from core.manifest import require_whole, unchanged, write_manifest
from core.progress import Progress, tell
from core.schema.search import Access, Chunk
from core.tables.access import Rules, in_rows
from core.workspace import Job
from pipelines.chunk.cutter import CHUNKS, DOCUMENTS, DOCUMENTS_FILE, FILE, Cutter, Earlier, read_earlier
from pipelines.chunk.documents import AT_ONCE, Counts, Document, distinct, read_documents
from pipelines.chunk.unread import unread
from pipelines.search.engine.copies import FILE as COPIES
from pipelines.search.engine.copies import LAYOUT, UNREAD
from pipelines.search.vectors.token_reader import named_base

QUARANTINE = "quarantine.parquet"
IN_PART = "in_part.json"  # documents of which something is not in the text: what


def run(job: Job) -> None:
    """Cut an index's documents into passages."""
    validated = job.folder / "validated"
    screened = require_whole(validated)
    examples, chunks = validated / "examples.parquet", job.folder / "chunks"
    access = job.section("access", Access)
    model, base = job.settings["embed"]["model"], named_base(job)
    cutter = Cutter(job.section("chunk", Chunk), model, base.folder, job.settings_file)
    of = sha256_json([LAYOUT, screened["files"], job.settings["access"], cutter.method])
    if (same := unchanged(chunks, of)) is not None:
        _say(cut=0, unchanged=same["documents"] - same["duplicates"], duplicates=same["duplicates"])
        return
    earlier, contents = read_earlier(chunks, cutter.method)
    rules = Rules(access.labels, access.others, str(job.settings_file), in_rows=in_rows(examples))
    counts = Counts()
    with replacing(chunks) as folder:
        documents = distinct(read_documents(examples, rules, counts), counts, contents)
        with Progress("chunk", total=pq.read_metadata(examples).num_rows, unit="documents") as progress:
            written, taken = write(documents, folder, cutter, earlier, progress)
        tokens = pq.read_table(folder / FILE, columns=["tokens"])["tokens"]
        if not len(tokens):
            raise BadData(f"{examples}: no document has a text, so there is nothing to index.")
        write_json(folder / COPIES, counts.duplicates)
        _set_aside(counts, folder)
        _tell_in_part(counts, folder)
        write_json(folder / UNREAD, list(unread(validated / QUARANTINE, rules)))
        facts = {
            "of": of,
            "layout": LAYOUT,
            "unread": screened.get("quarantined", 0),
            "documents": counts.documents,
            "duplicates": len(counts.duplicates),
            "unlabelled": len(counts.unlabelled),
            "in_part": len(counts.in_part),
            "empty": [row["document"] for row in written if not row["chunks"]],
            "chunks": len(tokens),
            "tokens": {"total": pc.sum(tokens).as_py(), "longest": pc.max(tokens).as_py()},
            "method": cutter.method,
        }
        write_manifest(folder, facts)
    _say(cut=len(written) - taken, unchanged=taken, duplicates=len(counts.duplicates))


def write(
    documents: Iterator[tuple[Document, str]], folder: Path, cutter: Cutter, earlier: Earlier, progress: Progress
) -> tuple[list[dict[str, Any]], int]:
    """Write the documents' rows, in their order, and documents.parquet. Row groups depend on the order alone.

    Returns the rows of documents.parquet, and how many documents' passages were there already.
    """
    written, taken = list[dict[str, Any]](), 0
    with pq.ParquetWriter(folder / FILE, CHUNKS, compression="zstd") as writer:
        while group := list(islice(documents, AT_ONCE)):
            known = [earlier.get(document.identity) for document, _ in group]
            new = cutter.cut([document for (document, _), rows in zip(group, known, strict=True) if rows is None])
            tables = [next(new) if rows is None else rows for rows in known]
            taken += sum(rows is not None for rows in known)
            written += [
                {"document": document.id, "identity": document.identity, "content": content, "chunks": table.num_rows}
                for (document, content), table in zip(group, tables, strict=True)
            ]
            table = pa.concat_tables(tables).combine_chunks()
            if table.num_rows:
                writer.write_table(table)
            progress.advance(len(group))
    pq.write_table(pa.Table.from_pylist(written, DOCUMENTS), folder / DOCUMENTS_FILE)
    return written, taken


def _set_aside(counts: Counts, folder: Path) -> None:
    """Write down and say which documents nobody may read. Without any there is no file."""
    if not counts.unlabelled:
        return
    pq.write_table(pa.Table.from_pylist(counts.unlabelled), folder / QUARANTINE)
    told = (
        f"chunk: {len(counts.unlabelled):,} documents that nobody may read were set aside ({QUARANTINE}). The first: "
    )
    print(told + counts.unlabelled[0]["reason"], file=sys.stderr, flush=True)


def _tell_in_part(counts: Counts, folder: Path) -> None:
    """Write down and say which documents are indexed without a part of their file. Without any there is no file."""
    if not counts.in_part:
        return
    write_json(folder / IN_PART, counts.in_part)
    first = counts.in_part[0]
    told = f"chunk: {len(counts.in_part):,} documents were read in part ({IN_PART}). The first: "
    print(f"{told}{first['document']}: {first['unread']}", file=sys.stderr, flush=True)


def _say(**counts: int) -> None:
    tell(**counts)
    print("chunk: " + ", ".join(f"{count:,} {what}" for what, count in counts.items()), file=sys.stderr, flush=True)
