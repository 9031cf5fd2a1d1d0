"""Where examples come from: one file here is one kind of source, found by listing the folder.

A source says what identifies its content (NAME.lock keeps that) and fetches it: as local files, which a reader of
readers/ turns into rows, or as rows. A file whose name starts with an underscore holds what several share. Importing
a source is cheap: what it stands on (SQLAlchemy, datasets ...) is imported when it is used; `remote`, which asks fsspec
what it can open, is itself imported last.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

from core.errors import BadRequest
from core.schema.data import Data, SplitSource, SqlSource
from pipelines.sources._files import Files, Table

SOURCES = Path(__file__).parent
Identity = dict[str, str | int | None]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LAST = "remote"
_STORES = ("s3", "gs", "az", "sftp")  # of those, what a message names


class Source(Protocol):
    """One kind of source. Where it may lie on this machine, `watch(data)` says which file or folder is read, if any."""

    SCHEMES: Sequence[str]  # what may stand before `://`; "" is a bare path, "sql" a query, "splits" several addresses

    def identify(self, data: Data, root: Path) -> Identity:
        """What the content is now: kind, and checksum, ETag or version. Reads no more than it must.

        Raises BadRequest when there is no such source, Outage when a server did not answer.
        """

    def fetch(self, data: Data, root: Path, *, downloads: Path, identity: Identity) -> Files | Table:
        """Local files for a reader, or rows; downloads: where copies of remote files are kept."""


def scheme(source: str | SqlSource | SplitSource) -> str:
    """The part before `://`, in lower case; "" for a path."""
    if not isinstance(source, str):
        return "sql" if isinstance(source, SqlSource) else "splits"
    found = _SCHEME.match(source)
    return found[1].lower() if found else ""


def source_names() -> list[str]:
    """Every kind of source, the one that knows its schemes only by asking last."""
    names = (path.stem for path in SOURCES.glob("*.py") if not path.stem.startswith("_"))
    return sorted(names, key=lambda name: (name == _LAST, name))


def addresses(source: str | SqlSource | SplitSource) -> list[str]:
    """The addresses that a source names: several of published splits, none of a query."""
    if isinstance(source, str):
        return [source]
    return list(source.addresses.values()) if isinstance(source, SplitSource) else []


def source_file(source: str | SqlSource | SplitSource) -> Path:
    """The file of this folder that reads `source`. Raises BadRequest when there is none, naming what there is."""
    wanted = scheme(source)
    known: list[str] = []
    for name in source_names():
        offered = _load(name).SCHEMES
        if wanted in offered:
            return SOURCES / f"{name}.py"
        known += offered if name != _LAST else _STORES
    schemes = ", ".join(f"{each}://" for each in sorted(known) if each not in ("", "sql", "splits"))
    raise BadRequest(
        f"no source reads {wanted}://. Allowed: a path or glob, sql: {{url_env, query}}, {schemes} and others of fsspec"
    )


def find_source(source: str | SqlSource | SplitSource) -> Source:
    """What reads `source`. Raises BadRequest when nothing does."""
    return _load(source_file(source).stem)


def watch_path(data: Data) -> str | None:
    """The local file or folder that a local source reads (of a glob: the folder above its first `*`), else None."""
    watch: Callable[[Data], str | None] | None = getattr(find_source(data.source), "watch", None)
    return watch(data) if watch else None


def _load(name: str) -> Source:
    return cast(Source, importlib.import_module(f"pipelines.sources.{name}"))
