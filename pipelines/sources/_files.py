"""What a source or a reader hands on: files on this machine, in a fixed order and with one checksum, or rows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unicodedata import normalize

from core.atomic_files import sha256_file
from core.errors import BadRequest
from core.schema.data import SplitName
from core.workspace import leads_out

_CACHE = "__pycache__"


@dataclass(frozen=True)
class Found:
    """A file, and its name below the source ("sport/001.txt")."""

    name: str
    path: Path


@dataclass(frozen=True)
class Files:
    """The files of a source: those listed (files, or folders with all below them), or all below `folder`.

    Names are relative to `folder`. Names that start with a dot are left out, as `ls` and the shell do,
    and __pycache__, which Python writes when it likes. What the settings name may be a link; a link below it that leads
    out of `folder` is refused: who fills the folder does not decide what else of this machine is read.
    splits: the files of each published split, where a source names them; then these are all there are.
    """

    folder: Path
    listed: Sequence[Path] | None = None
    splits: Mapping[SplitName, Files] = field(default_factory=dict)

    @property
    def single(self) -> Path | None:
        """The file, when the source is one file."""
        if self.listed is not None and len(self.listed) == 1 and self.listed[0].is_file():
            return self.listed[0]
        return None

    def __iter__(self) -> Iterator[Found]:
        for name, files in self.splits.items():
            yield from (Found(f"{name}/{found.name}", found.path) for found in files)
        if self.splits:
            return
        for path in self.listed if self.listed is not None else (self.folder,):
            for file in _walk(path, self.folder, ()):
                yield Found(spelt(file.relative_to(self.folder).as_posix()), file)

    def checksum(self) -> tuple[str, int]:
        """sha256 and count of the files. Of one file: its own; of several: of `sha256sum`'s lines about them."""
        if self.single:
            return sha256_file(self.single), 1
        digest, count = hashlib.sha256(), 0
        for found in self:
            digest.update(f"{sha256_file(found.path)}  {found.name}\n".encode())
            count += 1
        return digest.hexdigest(), count


@dataclass(frozen=True)
class Record:
    """One row.

    values: by the source's own names; a picture is a Path or bytes. place: "reviews.csv:17".
    fault: why (a part of) it could not be read. raw: what stood there, where values do not say it.
    left_out: the rule by which it is no example ("blank"); such a row is counted and goes no further.
    """

    values: Mapping[str, Any]
    place: str
    fault: str | None = None
    raw: str | None = None
    left_out: str | None = None


@dataclass(frozen=True)
class Table:
    """Rows of one file, folder or query.

    columns: its names, or None when only the rows can tell. notes: what a person should know of how it was read; whole
    when the records have gone by.
    """

    name: str
    columns: Sequence[str] | None
    records: Iterator[Record] = field(repr=False)
    notes: list[str] = field(default_factory=list)


def local(path: Path, *, named: str) -> Files:
    """The file or folder at `path`. Raises BadRequest when it is not there or may not be read; named: as written."""
    try:
        if path.is_dir():
            next(os.scandir(path), None)
            return Files(path)
        if path.is_file():
            path.open("rb").close()
            return Files(path.parent, (path,))
    except OSError as error:
        raise BadRequest(f"source {named}: {path} cannot be read ({error.strerror}).") from None
    if path.exists():
        raise BadRequest(f"source {named}: {path} is neither a file nor a folder.")
    hint = f"{other!r} is there, its accents composed in another way: rename it. " if (other := _alike(path)) else ""
    raise BadRequest(f"source {named}: no such file or folder ({path}). {hint}A relative path starts at the workspace.")


def _alike(path: Path) -> str | None:
    """The name beside `path` that looks the same: é may be one character, or e with a mark behind it."""
    names = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    return next((name for name in names if normalize("NFC", name) == normalize("NFC", path.name)), None)


def _walk(path: Path, top: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    """Files at and below `path`, sorted by name folder by folder; a link that leads back up is not followed.

    Raises BadRequest for a link that leads out of `top`.
    """
    status = path.stat()
    here = (status.st_dev, status.st_ino)
    if path.is_file():
        yield path
    elif path.is_dir() and here not in above:
        try:
            names = sorted(child.name for child in path.iterdir() if child.name[0] != "." and child.name != _CACHE)
        except OSError as error:
            raise BadRequest(f"{path} cannot be read ({error.strerror}).") from None
        for name in names:
            child = path / name
            if child.exists():  # not a link to nowhere
                if child.is_symlink():
                    refuse_way_out(child, top)
                yield from _walk(child, top, (*above, here))


def refuse_way_out(path: Path, top: Path) -> None:
    """Raise BadRequest for a path below a source that is, or lies behind, a link out of it."""
    if leads_out(path, top):
        raise BadRequest(
            f"{str(path)!r} leads out of its source {top}, to {str(path.resolve())!r}. Links below a source may not: "
            "copy what it points at, or name that as a source."
        )


def spelt(text: str) -> str:
    """Bytes that did not decode as "\\xe9", other halves of characters as "\\ud800"."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
