"""Files and folders that are replaced so that a crash leaves the old or the new, never half."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import BadRequest


def read_json(path: Path) -> Any:
    """The document in a JSON file. Raises BadRequest when it is missing or torn."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadRequest(
            f"{path}: missing. Run the stage that writes it first (`dvc repro`, or `headrace run`)."
        ) from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"{path}:{error.lineno}: not JSON ({error.msg}). Delete it and run again.") from None
    except (ValueError, RecursionError) as error:  # not UTF-8; a number of 5,000 digits; a thousand brackets
        raise BadRequest(f"{path}: not JSON that can be read ({error}). Delete it and run again.") from None


def to_json(document: Any) -> str:
    """Canonical JSON: sorted keys, so that equal content has equal bytes."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_text(path: Path, text: str) -> None:
    """Replace a file, synced to disk before it takes its name."""
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    swap_in(beside, path)


def write_private(path: Path, text: str) -> None:
    """Replace a file that only its owner may read, from its first byte on."""
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)
    swap_in(beside, path)


def write_json(path: Path, document: Any) -> None:
    write_text(path, to_json(document))


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, their names on disk: else a power cut takes them with all that is inside."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync(folder.parent)


def swap_in(beside: Path, path: Path) -> None:
    """Give a finished file its name. It is on disk before: a rename alone survives a kill and not a power cut."""
    sync(beside)
    beside.replace(path)
    sync(path.parent)


def sync_tree(folder: Path) -> None:
    """Bring a folder and all in it to disk."""
    for path in (*folder.rglob("*"), folder):
        sync(path)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, and put it in its place when the block ends well.

    The files are on disk before the swap. When the block raises, `target` stands as it was.
    """
    beside, old = (target.with_name(f".{target.name}.{suffix}") for suffix in ("new", "old"))
    make_folder(target.parent)
    if old.exists() and not target.exists():  # killed between the two renames below
        old.replace(target)
    for leftover in (beside, old):
        shutil.rmtree(leftover, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        sync_tree(beside)
        if target.exists():
            target.replace(old)
        beside.replace(target)
        sync(target.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def tail(file: Path, most: int) -> str:
    """The end of a file that a program writes into: its last bytes, at most so many."""
    with file.open("rb") as opened:
        opened.seek(max(file.stat().st_size - most, 0))
        return opened.read().decode(errors="replace")


def said_in(path: Path) -> dict[str, Any]:
    """What an earlier run wrote into a JSON file; empty when it is missing, torn, or no object."""
    try:
        found = read_json(path)
    except BadRequest:
        return {}
    return found if isinstance(found, dict) else {}


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_json(document: Any) -> str:
    return hashlib.sha256(to_json(document).encode()).hexdigest()


def sync(path: Path) -> None:
    """Bring what a file holds, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
