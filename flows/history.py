"""Git's objects that hold a row's text: they stay, and are named. Rewriting history is a person's to decide."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from flows.traces import Traces

_SHOWN = 3  # commits


def in_git(root: Path, traces: Traces) -> Iterator[str]:
    """Where git has the text, in words: a file and commits that it stands in. Reads every blob."""
    for blob in list(_blobs(root, traces)):
        log = _git(root, "log", "--all", "--format=:%h", f"--find-object={blob}", "--name-only").splitlines()
        commits = [line[1:] for line in log if line.startswith(":")]
        names = sorted({line for line in log if line and not line.startswith(":")})
        if commits:
            yield f"{', '.join(names)} in commits {', '.join(commits[:_SHOWN])}{' ...' if commits[_SHOWN:] else ''}"
        else:
            yield f"object {blob[:10]}, which no commit names (git's index, a stash, or `git gc --prune=now` drops it)"


def _blobs(root: Path, traces: Traces) -> Iterator[str]:
    if not traces.spellings:
        return
    command = ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while head := process.stdout.readline():
            name, kind, size = head.decode().split()
            content = process.stdout.read(int(size) + 1)
            if kind == "blob" and traces.in_bytes(content):
                yield name


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.stdout
