"""s3://, gs://, az:// and whatever else fsspec opens: a file, or all files below a prefix or behind a glob.

Who may read is up to each store's own variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL ...), never to a settings file.
"""

from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec

from core.atomic_files import make_folder, swap_in
from core.errors import BadRequest, Outage
from core.progress import tracked
from core.schema.data import Data
from core.workspace import inside
from pipelines.sources import Identity, scheme
from pipelines.sources._files import Files

# fsspec's names for what other files here read, and for wrappers around other file systems.
_NOT_STORES = {
    "file", "local", "http", "https", "data", "async_wrapper", "asyncwrapper", "asynclocal", "blockcache", "cached",
    "filecache", "simplecache", "dir", "generic", "reference", "root", "tar", "zip", "libarchive", "dvc",
}  # fmt: skip
SCHEMES = sorted(set(fsspec.available_protocols()) - _NOT_STORES)
# What stores call the checksum or version of a file, best first; else its date.
_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "VersionId", "sha")
_DATES = ("LastModified", "last_modified", "mtime", "created")
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}  # of this machine, not of the store


@dataclass(frozen=True)
class Remote:
    """A file of a store: its place there, its name below the source, and what says whether it changed."""

    path: str
    name: str
    mark: str
    size: int


def identify(data: Data, root: Path) -> Identity:
    with _store(str(data.source)) as (store, path):
        files = _listing(store, path, str(data.source))
    marks = [f"{file.name} {file.size} {file.mark}" for file in files]
    kind = scheme(data.source)
    if len(files) == 1:
        return {"kind": kind, "mark": files[0].mark, "length": files[0].size}
    listing = hashlib.sha256("\n".join(marks).encode()).hexdigest()
    return {"kind": kind, "files": len(files), "listing": listing}


def fetch(data: Data, root: Path, *, downloads: Path, identity: Identity) -> Files:
    source = str(data.source)
    key = hashlib.sha256(f"{source}\n{json.dumps(identity, sort_keys=True)}".encode()).hexdigest()
    folder = downloads / key
    make_folder(folder)
    with _store(source) as (store, path):
        files = _listing(store, path, source)
        for file in tracked(files, f"download {source}", total=len(files), unit="files"):
            target = inside(folder, file.name)
            if not (target.is_file() and target.stat().st_size == file.size):
                _copy(store, file, target)
    return Files(folder, tuple(folder / file.name for file in files) if len(files) == 1 else None)


def _copy(store: Any, file: Remote, target: Path) -> None:
    """Bring one file here; it takes its name when all of it has come."""
    make_folder(target.parent)
    part = target.with_name(f".{target.name}.part")
    store.get_file(file.path, str(part))
    size = part.stat().st_size
    if size != file.size:
        raise Outage(f"{file.path}: {size:,} of {file.size:,} bytes came. Run again.")
    swap_in(part, target)


def _listing(store: Any, path: str, source: str) -> list[Remote]:
    """The file at `path`, or all below it or behind the glob, by name."""
    if any(mark in path for mark in "*?["):
        found = {name: info for name, info in store.glob(path, detail=True).items() if info["type"] == "file"}
        fixed = path[: min(path.index(mark) for mark in "*?[" if mark in path)].rpartition("/")[0]
    elif store.isfile(path):
        found, fixed = {path: store.info(path)}, str(PurePosixPath(path).parent)
    else:
        found, fixed = store.find(path, detail=True), path.rstrip("/")
    if not found:
        raise BadRequest(f"source {source}: no such file, and nothing below it. Check the name and who may read it.")
    files = (
        Remote(name, name.removeprefix(fixed).lstrip("/"), _mark(info), info["size"]) for name, info in found.items()
    )
    return sorted(files, key=lambda file: file.name)


def _mark(info: Mapping[str, Any]) -> str:
    return next((str(info[key]).strip('"') for key in (*_MARKS, *_DATES) if info.get(key)), "")


@contextmanager
def _store(source: str) -> Iterator[tuple[Any, str]]:
    """The file system behind a URL and the path in it; its faults become messages.

    Raises BadRequest for a chain ("zip://a::s3://b"): another file system may hide in it, that of this machine for one.
    """
    if "::" in source:
        raise BadRequest(f"source {source}: a chain of file systems ('::') is not read. Name the file itself.")

    try:
        yield fsspec.core.url_to_fs(source, use_listings_cache=False, skip_instance_cache=True)
    except ImportError as error:
        raise BadRequest(f"source {source}: {error}. `pip install 'headrace[scale]'` brings s3fs.") from None
    except FileNotFoundError:
        raise BadRequest(f"source {source}: no such file or bucket. Check the name.") from None
    except PermissionError as error:
        raise BadRequest(f"source {source}: access denied ({error}). Set the store's own variables.") from None
    except (OSError, TimeoutError) as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        raise Outage(f"source {source}: no answer ({error or type(error).__name__}). Run again later.") from None
    except Exception as error:
        if not any(kind.__module__ == "botocore.exceptions" for kind in type(error).__mro__):  # of what s3fs stands on
            raise
        if type(error).__name__ == "NoCredentialsError":
            raise BadRequest(f"source {source}: {error}. Set the store's own variables.") from None
        raise Outage(f"source {source}: no answer ({error}). Run again later.") from None
