"""Git's objects that hold a row's text: they stay, and are named. Rewriting history is a person's to decide."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.git import git
from flows.forget.row_copies import Traces
from flows.graph.git_refs import every_object

_SHOWN = 3  # commits


def in_git(root: Path, traces: Traces) -> Iterator[str]:
    """Where git has the text, in words: a file and commits that it stands in. Reads every blob.

    Raises BadRequest when git fails.
    """
    if not traces.spellings:
        return
    blobs = [each.name for each in every_object(root) if each.kind == "blob" and traces.in_bytes(each.content)]
    for blob in blobs:
        found = git(root, "log", "--all", "--format=:%h", f"--find-object={blob}", "--name-only")
        log = found.splitlines()
        commits = [line[1:] for line in log if line.startswith(":")]
        names = sorted({line for line in log if line and not line.startswith(":")})
        if commits:
            yield f"{', '.join(names)} in commits {', '.join(commits[:_SHOWN])}{' ...' if commits[_SHOWN:] else ''}"
        else:
            yield f"object {blob[:10]}, which no commit names (git's index, a stash, or `git gc --prune=now` drops it)"
