"""How much memory there is for a process, and how much one took: of the machine, or of the control group that it is in.

Linux tells all of it; elsewhere there is no control group, and the peak is what getrusage says.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

GIB = 1 << 30
_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_V2, _V1 = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
_CACHE = ("inactive_file", "total_inactive_file")  # of memory.stat: what a group gives back when it needs room


def limit_bytes(groups: Path = _GROUPS, own: Path = _OWN) -> int:
    """What the machine has, or less where a control group of this process allows less."""
    return min([psutil.virtual_memory().total, *(limit for limit, _ in _allowed(groups, own))])


def free_bytes(groups: Path = _GROUPS, own: Path = _OWN) -> int:
    """What can be had now without anything being written to swap."""
    return max(0, min([psutil.virtual_memory().available, *(free for _, free in _allowed(groups, own))]))


def peak_bytes() -> int:
    """The most memory that this process had at one time; of a fork, since it was forked."""
    if (found := _of_status("VmHWM")) is not None:
        return found
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << (0 if sys.platform == "darwin" else 10)


def resident_bytes() -> int:
    """The memory that this process has now."""
    return int(psutil.Process().memory_info().rss)


def file_bytes() -> int:
    """How much of this process's memory are pages of files, such as libraries; a fork begins with next to none."""
    return _of_status("RssFile") or 0


def forget_peak() -> None:
    """Let peak_bytes() begin anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _of_status(name: str) -> int | None:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) << 10
    return None


def _allowed(groups: Path, own: Path) -> Iterator[tuple[int, int]]:
    """The limit of each control group that this process is in, and what is left of it."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _upwards(groups, path, *_V2)
            yield from _upwards(groups / "unified", path, *_V2)
        elif "memory" in controllers.split(","):
            yield from _upwards(groups / "memory", path, *_V1)


def _upwards(top: Path, path: str, limit: str, usage: str) -> Iterator[tuple[int, int]]:
    """Of a group and all above it; a container sees its own group at the top, whatever its path says."""
    inside = top / path.lstrip("/")
    for folder in (inside, *(each for each in inside.parents if each.is_relative_to(top))):
        try:
            allowed = (folder / limit).read_text().strip()
            used = int((folder / usage).read_text())
        except (OSError, ValueError):
            continue
        if allowed != "max":
            yield int(allowed), int(allowed) - used + _given_back(folder)


def _given_back(folder: Path) -> int:
    with suppress(OSError):
        found = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return max(int(found.get(name, 0)) for name in _CACHE)
    return 0
