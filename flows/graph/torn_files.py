"""DVC's own two files, whole again after a kill: dvc.lock (what every stage read and wrote) and .dvc/tmp/rwlock.

DVC truncates both before it writes them, and then refuses to start. Only flows/graph/graph.py calls what is here.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from core.atomic_files import write_text
from core.git import git_says
from flows.graph import power_cut
from flows.graph.dvc import write_yaml

_ENTRY = re.compile(r"^  (?=\S)", re.MULTILINE)  # where a stage's entry begins: two spaces, then its name
_HEAD = "schema: '2.0'\nstages:\n"
_CLOCK_S = 2.0  # a file's time and a process's are not of one clock


def write_lockfile_at_once(repo: Any) -> None:
    """Let DVC swap dvc.lock in, in this process, when all that it names is on disk.

    A kill leaves the old one or the new one; a power cut leaves none that names what got lost.
    """
    from dvc import dvcfile

    dvcfile.modify_yaml = partial(_swapping, repo)


def heal(repo: Any) -> None:
    """Make both files readable, where a killed process left them torn, and forget locks whose process is gone.

    A lock file with a merge's conflict marks is a person's to solve, and stays.
    """
    root, tmp = Path(repo.root_dir), Path(repo.tmp_dir)
    _heal_rwlock(tmp)
    lock = root / "dvc.lock"
    if _is_torn(lock):
        with repo.lock:  # who holds it may be writing the file now
            if _is_torn(lock):
                _heal_lockfile(lock)


def at_work(repo: Any) -> list[tuple[str, str]]:
    """The processes that run a stage of DVC's now: in words, and the command of each.

    Call it while DVC's lock is held: then none begins.
    """
    file = Path(repo.tmp_dir) / "rwlock"
    if not file.exists():
        return []
    if (locks := _locks(file)) is None:  # torn by a kill, or half written now: who holds its guard is waited for
        _heal_rwlock(file.parent)
        locks = (_locks(file) if file.exists() else None) or {}
    written = file.stat().st_mtime if file.exists() else 0.0
    held = [*locks.get("write", {}).values(), *(one for all_ in locks.get("read", {}).values() for one in all_)]
    found = {(one["pid"], str(one["cmd"])) for one in held if _holds(one, written)}
    return sorted((f"process {pid} (`{command}`)", command) for pid, command in found)


@contextmanager
def _swapping(repo: Any, path: str, fs: Any = None) -> Iterator[Any]:
    from dvc.utils.serialize._yaml import dumps_yaml, parse_yaml

    file = Path(path)  # a machine's file: no comments to keep, so the fast parser will do
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    data = parse_yaml(text, path)
    before = dict(data.get("stages", {}))
    yield data
    new = {address: entry for address, entry in data.get("stages", {}).items() if entry != before.get(address)}
    power_cut.sync_outputs(repo, [out for entry in new.values() for out in entry.get("outs", [])])
    write_text(file, spliced(text, list(before), data, set(new)) or dumps_yaml(data))


def spliced(text: str, before: Sequence[str], data: Mapping[str, Any], new: Collection[str]) -> str | None:
    """A dvc.lock as DVC would write this, from the one there was; None where it has more than stages.

    before: the stages of `text`, in its order. new: those of data that are not as they were there. ruamel writes 300
    lines in .15 s, and DVC has it write every stage's after each.
    """
    from dvc.utils.serialize._yaml import dumps_yaml

    head, *entries = _ENTRY.split(text)
    if head != _HEAD or list(data) != ["schema", "stages"] or not data["stages"] or len(entries) != len(before):
        return None
    known = dict(zip(before, entries, strict=True))
    parts = (
        dumps_yaml({"stages": {address: entry}})[len("stages:\n") :] if address in new else f"  {known[address]}"
        for address, entry in data["stages"].items()
    )
    return head + "".join(parts)


def _is_torn(lock: Path) -> bool:
    if not lock.exists():
        return False
    text = lock.read_bytes().decode(errors="replace")
    return "<<<<<<<" not in text and (not text.endswith("\n") or _stages(text) is None)


def _stages(text: str) -> dict[str, Any] | None:
    """The entries of a dvc.lock; None when it is not one."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from voluptuous import Invalid

    with contextlib.suppress(YAMLError, Invalid, ValueError):
        return dict(COMPILED_LOCKFILE_SCHEMA(YAML(typ="safe").load(text) or {}).get("stages", {}))
    return None


def _heal_lockfile(lock: Path) -> None:
    """Keep the entries before the tear; take those behind it from the last commit, and say so."""
    committed = git_says(lock.parent, "show", "HEAD:./dvc.lock")
    head, *entries = _ENTRY.split(lock.read_bytes().decode(errors="replace"))
    kept = _stages(head + "".join(f"  {entry}" for entry in entries[:-1])) or {}  # the last one may be cut
    healed = {**(_stages(committed) or {}), **kept}
    if not healed:
        lock.unlink()
    else:
        write_yaml(lock, {"schema": "2.0", "stages": healed})
    print(
        f"{lock.name} was torn: a process was killed while it wrote it. {len(kept)} of its stages are kept, "
        f"{len(healed) - len(kept)} stand as last committed. What is missing runs again.",
        file=sys.stderr,
        flush=True,
    )


def _heal_rwlock(tmp: Path) -> None:
    """Drop the locks of processes that are gone, numbers given out anew since then included; all, when it is torn."""
    from dvc.lock import LockError, make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    file = tmp / RWLOCK_FILE
    if not file.exists():
        return
    with contextlib.suppress(LockError), make_lock(str(tmp / RWLOCK_LOCK), tmp_dir=str(tmp)):
        written = file.stat().st_mtime
        locks = _locks(file)
        if locks is None:
            file.unlink()
            return
        write, read = locks.get("write", {}), locks.get("read", {})
        living = {path: [one for one in held if _holds(one, written)] for path, held in read.items()}
        alive = {
            "write": {path: one for path, one in write.items() if _holds(one, written)},
            "read": {path: held for path, held in living.items() if held},
        }
        if alive != {"write": write, "read": read}:
            write_text(file, json.dumps(alive))


def _locks(file: Path) -> dict[str, Any] | None:
    from dvc.rwlock import SCHEMA
    from voluptuous import Invalid

    with contextlib.suppress(ValueError, Invalid):
        return dict(SCHEMA(json.loads(file.read_text(encoding="utf-8"))))
    return None


def _holds(holder: dict[str, Any], written: float) -> bool:
    """Whether the process that wrote this lock lives: one that was born after the file has only got its number."""
    try:
        return bool(psutil.Process(holder["pid"]).create_time() <= written + _CLOCK_S)
    except psutil.NoSuchProcess:
        return False
