"""A path, a glob or file://: files on this machine. DVC itself watches them, so the lock says no more than that."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

from core.errors import BadRequest
from core.schema.data import Data
from core.workspace import expanded
from pipelines.sources import Identity
from pipelines.sources._files import Files, local, refuse_way_out

SCHEMES = ("", "file")
_MAGIC = re.compile(r"[*?[]")


def identify(data: Data, root: Path) -> Identity:
    _files(data, root)
    return {"kind": "path"}


def fetch(data: Data, root: Path, *, downloads: Path, identity: Identity) -> Files:
    return _files(data, root)


def watch(data: Data) -> str:
    text = _path(data)
    parts = Path(text).parts
    fixed = next((at for at, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    return str(Path(*parts[:fixed]))


def _files(data: Data, root: Path) -> Files:
    text = _path(data)
    path = root / text
    if not _MAGIC.search(text) or path.exists():
        return local(path, named=text)
    folder = root / watch(data)
    inside = ((match, match.relative_to(folder).parts) for match in folder.glob(str(path.relative_to(folder))))
    found = sorted(match for match, parts in inside if not any(part.startswith(".") for part in parts))
    if not found:
        raise BadRequest(f"source {text}: nothing matches below {folder}. Correct the pattern, or add the files.")
    for match in found:
        refuse_way_out(match, folder)
    return Files(folder, tuple(found) if "**" not in text else tuple(file for file in found if file.is_file()))


def _path(data: Data) -> str:
    """The path as written, file:// and its %20 taken away, `~` spelt out."""
    text = str(data.source)
    if text[:7].lower() == "file://":
        text = unquote(text[7:].removeprefix("localhost"))
    return str(expanded(text))
