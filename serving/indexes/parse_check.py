"""A document that is sent is read as the next `headrace index` will read it, before it is stored."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from threading import BoundedSemaphore

from fastapi import HTTPException

from core.atomic_files import make_folder
from pipelines.sources._files import Found
from pipelines.sources._parsing import Parsers
from pipelines.sources.readers.folders import one_document

_TURNS = BoundedSemaphore(2)  # a parser may take 2 GiB of memory


def require_readable(identity: str, content: bytes, encoding: str, scratch: Path) -> None:
    """Raises 422 with the reason for a document that an index would leave out. scratch: a folder for a while."""
    make_folder(scratch)
    with _TURNS, TemporaryDirectory(dir=scratch) as folder, Parsers() as parsers:
        file = Path(folder) / "document"
        file.write_bytes(content)
        record = one_document(Found(identity, file), encoding, parsers)
    fault = record.fault or ("" if str(record.values["text"] or "").strip() else "holds no text")
    if fault:
        raise HTTPException(422, f"{identity[:200]!r} cannot be read: {fault}. Nothing was stored.")
