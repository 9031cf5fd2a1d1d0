"""DVC's cache at a power cut: what dvc.lock names is on disk before it does, and what a cut took is found afterwards.

DVC syncs nothing. It copies outputs into its cache and some of them back, and then trusts an object for its file mode:
one that lost its content is handed out as it is, and pushed. graph.py and torn_files.py call what is here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from core.atomic_files import said_in, sync, write_json
from flows.graph.rot import is_whole, objects

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UNSYNCED_S = 600.0  # Linux writes back after 30 s by itself; a loaded machine may take longer
_ONE_BY_ONE = 200  # beyond it one call for the whole machine costs less


def sync_outputs(repo: Any, outs: Iterable[Mapping[str, Any]]) -> None:
    """Bring outputs, as dvc.lock names them, and their objects in the cache to disk."""
    found = [path for out in outs for path in _places(repo, out)]
    if len(found) > _ONE_BY_ONE:
        os.sync()
        return
    for path in dict.fromkeys(found):
        sync(path)


def heal(repo: Any, var: Path) -> None:
    """When the machine has started anew since the last time, drop objects of the cache that lost their content.

    Those are looked at that DVC wrote at the end of the time before: whatever was older had been written back.
    Outputs that are whole are copied into the cache again; the others are made anew by their stages.
    """
    record = var / "boot.json"
    boot = {"id": _boot()}
    if said_in(record) == boot:
        return
    with repo.lock:  # DVC may be writing objects, and eight commands may start at once
        if said_in(record) == boot:
            return
        dropped = [cached for cached in list(_newest(Path(repo.cache.local.path))) if not is_whole(cached)]
        for cached in dropped:
            cached.unlink()
        if dropped:
            _fill_gaps(repo)
            print(f"{len(dropped)} files of DVC's cache were short: the power failed while they were written. "
                  "They are made anew.", file=sys.stderr, flush=True)  # fmt: skip
        write_json(record, boot)


def _places(repo: Any, out: Mapping[str, Any]) -> Iterator[Path]:
    """An output, its objects, and every folder that they stand in, as far as it may be new."""
    root = Path(repo.root_dir)
    place = root / out["path"]
    yield from place.rglob("*")
    yield from (path for path in (place, *place.parents) if path.exists() and path.is_relative_to(root))
    cache = repo.cache.local
    for cached in objects(cache, out["md5"]) if "md5" in out else ():
        yield cached
        yield cached.parent
    folders = (Path(cache.path), *Path(cache.path).parents)
    yield from (folder for folder in folders if folder.is_relative_to(root / ".dvc"))


def _newest(cache: Path) -> Iterator[Path]:
    times = {path: path.stat().st_mtime for path in cache.glob("??/*") if path.is_file()}
    since = max(times.values(), default=0.0) - _UNSYNCED_S
    yield from (path for path, time in times.items() if time >= since)


def _fill_gaps(repo: Any) -> None:
    """Copy outputs that are as dvc.lock says into the cache again."""
    for out in (out for stage in repo.index.stages for out in stage.outs):
        if out.use_cache and out.hash_info and out.exists and not out.changed_checksum() and out.changed_cache():
            out.commit(relink=False)


def _boot() -> str:
    """Another one each time that the machine starts."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.exists() else str(round(psutil.boot_time()))
