"""An index's own folder of documents: where each stands, who may see it, and how a file takes another's place.

The folder is the index's source, so whatever is written here is searched after the next `headrace index`.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fastapi import HTTPException

from core.atomic_files import make_folder, swap_in
from core.errors import BadRequest
from core.schema.search import Access
from core.tables.access import Rules, in_rows, may_see
from core.workspace import Job, inside, leads_out
from pipelines.sources.parsers import media_kind
from pipelines.sources.readers import holds_documents
from serving.http.api_keys import Caller

MAX_FILES = 50_000  # of a folder: beyond, the engine behind QDRANT_URL and a source of another kind serve better
MAX_ID, MAX_PART = 400, 120  # characters of an id, bytes of one of its parts: with both, no file system refuses it
_UNDECODED = "\ufffd"  # what a server makes of bytes that are not UTF-8
_ROW = re.compile("[#:]")  # behind a table's name, in the id of a document that is a row of it
# What is the workspace's own: a folder of documents must not hold any of it, nor lie in it.
_OWN = ("recipes", "indexes", "core", "flows", "pipelines", "registry", "serving", "var", ".git", ".dvc", "data/models",
        "data/indexes", "dvc.yaml", "params.yaml")  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """Documents as files; a document's id is its path below `root`. rules: who may see which.

    lock: for the one who writes. Every method raises BadRequest for what cannot be an id, and 404 for a document that
    is not there or that the caller may not see: the words are the same.
    """

    index: str
    root: Path
    encoding: str
    rules: Rules
    lock: Path

    def listed(self, after: str, limit: int, caller: Caller) -> list[tuple[str, os.stat_result]]:
        """The first documents behind an id, which need not be there, by id: those that read() would give the caller.

        Reads no document and no folder whose ids all come before, and nothing beyond the last one that is listed.
        """
        found: list[tuple[str, os.stat_result]] = []
        for identity, path in _below(self.root, after):
            if len(found) == limit:
                break
            if self._is_listed(identity, caller):
                with suppress(FileNotFoundError):  # it went meanwhile
                    found.append((identity, path.stat()))
        return found

    def read(self, identity: str, caller: Caller) -> bytes:
        path = self._seen(identity, caller)
        with suppress(OSError):
            return path.read_bytes()
        raise self._none(identity)

    def write(self, identity: str, content: bytes, caller: Caller) -> str:
        """Add or replace, in one step; returns the content's sha256. Raises what require_writable does."""
        path = self.require_writable(identity, caller)
        make_folder(path.parent)
        beside = path.with_name(f".{path.name}.new")  # starts with a dot: no reader of the folder takes it
        beside.write_bytes(content)
        swap_in(beside, path)
        return hashlib.sha256(content).hexdigest()

    def require_writable(self, identity: str, caller: Caller) -> Path:
        """Where a document may be written. Raises 409 for a full folder, and for a document that nobody could find."""
        path = self._seen(identity, caller)
        try:
            self.rules.of(identity, None)
        except BadRequest as fault:
            raise HTTPException(409, f"nobody could find this document. {fault}") from None
        if path.is_dir() or any(above.is_file() for above in path.parents if above.is_relative_to(self.root)):
            raise self._none(identity)  # which of its names are taken is said to nobody
        if not path.exists() and sum(len(names) for _, _, names in os.walk(self.root)) >= MAX_FILES:
            raise HTTPException(
                409, f"the folder of {self.index} has {MAX_FILES:,} files, which is the most. Delete some first."
            )
        return path

    def remove(self, identity: str, caller: Caller) -> None:
        """Raises 409 for a document without which no index could be made of the folder."""
        path = self._seen(identity, caller)
        if not path.is_file():
            raise self._none(identity)
        if last := self._last_of(identity):
            raise HTTPException(
                409,
                f"{identity[:200]!r} is the last document of the rule {last!r}. A rule without any may be misspelt and "
                "stops the index: let it be taken out of `access:` first.",
            )
        path.unlink()
        for above in path.parents:
            if above == self.root:
                break
            with suppress(OSError):  # not empty
                above.rmdir()

    def _seen(self, identity: str, caller: Caller) -> Path:
        """Where a document stands or would stand, if the caller may see it."""
        path = inside(self.root, _checked(identity))
        if leads_out(path, self.root) or not self._may_see(identity, caller) or self._spelt_otherwise(path):
            raise self._none(identity)
        return path

    def _may_see(self, identity: str, caller: Caller) -> bool:
        if caller.access is None:
            return True
        try:
            labels = self.rules.of(identity, None)
        except BadRequest:  # nothing says who may see it, so nobody may
            return False
        return may_see(caller.access, labels)

    def _is_listed(self, identity: str, caller: Caller) -> bool:
        with suppress(BadRequest):
            return media_kind(_checked(identity)) is None and self._may_see(identity, caller)
        return False

    def _spelt_otherwise(self, path: Path) -> bool:
        """Whether a part of it stands on the disk in other letters: some file systems ignore case, rules do not."""
        parts = [each for each in (path, *path.parents) if each != self.root and each.is_relative_to(self.root)]
        return any(os.path.lexists(part) and part.name not in _names(part.parent) for part in parts)

    def _last_of(self, identity: str) -> str | None:
        """A rule that would speak for nothing without this document."""
        alone = set(self.rules.matching(identity))
        for above, _, names in os.walk(self.root):
            for name in names:
                other = (Path(above) / name).relative_to(self.root).as_posix()
                if alone and unicodedata.normalize("NFC", other) != identity and not name.startswith("."):
                    alone.difference_update(self.rules.matching(other))
        return min(alone, default=None)

    def _none(self, identity: str) -> HTTPException:
        return HTTPException(404, f"{self.index} has no document {identity[:200]!r} that you may see or write.")


def folder_of(job: Job) -> Folder:
    """Raises 409 for an index whose documents are somewhere else."""
    data = job.settings["data"]
    source = data["source"]
    why = f"the documents of {job.name} are read from elsewhere, so they are not written here. "
    if not isinstance(source, str) or "://" in source or data["reader"] != "folders":
        raise HTTPException(409, why + "Only a folder of the workspace with `reader: folders` is.")
    workspace = job.workspace.root.resolve()
    root = (workspace / source).resolve()
    own = any(each.is_relative_to(root) or root.is_relative_to(each) for each in map(workspace.joinpath, _OWN))
    if not root.is_dir() or not root.is_relative_to(workspace) or own:
        raise HTTPException(409, why + "Only a folder inside the workspace that holds nothing else is.")
    access, examples = Access.model_validate(job.settings.get("access", {})), job.folder / "validated/examples.parquet"
    labelled = examples.is_file() and in_rows(examples)
    rules = Rules(access.labels, access.others, f"indexes/{job.name}.yaml", in_rows=labelled)
    return Folder(job.name, root, data["encoding"], rules, job.workspace.var / "serving" / f"{job.name}.lock")


def _below(top: Path, after: str) -> Iterator[tuple[str, Path]]:
    """Id and place of each file below a folder whose id comes after another, sorted by id as text.

    As the collector walks: not what begins with a dot, no link to nowhere or out, nor one that leads back up.
    """

    def walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, Path]]:
        status = folder.stat()
        here = (status.st_dev, status.st_ino)
        if here in above or len(prefix) > MAX_ID:
            return
        with os.scandir(folder) as entries:  # a folder's slash counts: "a.txt" comes before "a/b", and "a0" after it
            named = ((f"{prefix}{each.name}{'/' * each.is_dir()}", each) for each in entries if each.name[0] != ".")
            names = sorted((name, each) for name, each in named if name > after or after.startswith(name))
        for name, each in names:
            path = folder / each.name
            if each.is_symlink() and (not path.exists() or leads_out(path, top)):
                continue
            if name.endswith("/"):
                with suppress(FileNotFoundError):  # it went meanwhile
                    yield from walk(path, name, (*above, here))
            elif name != after and path.is_file():
                yield name, path

    return walk(top, "", ())


def _names(folder: Path) -> set[str]:
    return {unicodedata.normalize("NFC", each.name) for each in folder.iterdir()}


def _checked(identity: str) -> str:
    """An id that is a path below the folder, on any file system, in the one spelling that it has."""
    parts = identity.split("/")
    if len(identity) > MAX_ID or not all(parts) or max(len(part.encode()) for part in parts) > MAX_PART:
        raise BadRequest(f"an id is a relative path: at most {MAX_ID} characters, {MAX_PART} bytes a part, none empty.")
    if any(part.startswith(".") or part != part.strip() or part == "__pycache__" for part in parts):
        raise BadRequest("no part of an id may begin with a dot, be __pycache__, or begin or end with white space.")
    odd = "\\" in identity or _UNDECODED in identity
    if unicodedata.normalize("NFC", identity) != identity or not identity.isprintable() or odd:
        raise BadRequest("an id is printable text without a backslash, its accents composed (Unicode NFC).")
    if holds_documents(identity):
        raise BadRequest("a table is many documents, and none by itself: it can neither be read nor written here.")
    if any(holds_documents(identity[: mark.start()]) for mark in _ROW.finditer(identity)):
        raise BadRequest("an id that begins with a table's name and # or : is that of a row of it: take another.")
    return identity
