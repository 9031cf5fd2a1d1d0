"""git, run as a program in a folder. In its answers a file's name may hold any byte: text is in surrogateescape."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from core.errors import BadRequest, HeadraceError


def git(root: Path, *arguments: str, fault: type[HeadraceError] = BadRequest) -> str:
    """What a git command answers. Raises `fault` with git's own words when it fails."""
    return git_bytes(root, *arguments, fault=fault).decode(errors="surrogateescape")


def git_bytes(root: Path, *arguments: str, stdin: bytes = b"", fault: type[HeadraceError] = BadRequest) -> bytes:
    """The same, as it comes. Raises `fault` with git's own words when it fails."""
    done = _run(root, arguments, stdin)
    _require(done.returncode, root, arguments, done.stderr or done.stdout, fault)
    return done.stdout


def git_says(root: Path, *arguments: str) -> str:
    """What a git command answers, failed or not: for a caller to whom a refusal is an empty answer."""
    return _run(root, arguments).stdout.decode(errors="surrogateescape")


@contextmanager
def git_stream(root: Path, *arguments: str) -> Iterator[IO[bytes]]:
    """A long answer, to be read to its end in the block. Raises BadRequest with git's own words when it failed."""
    with subprocess.Popen(["git", *arguments], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        yield process.stdout
        said = process.stderr.read()
    _require(process.returncode, root, arguments, said, BadRequest)


def _run(root: Path, arguments: Sequence[str], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=root, input=stdin, capture_output=True, check=False)


def _require(code: int, root: Path, arguments: Sequence[str], said: bytes, fault: type[HeadraceError]) -> None:
    if code:
        raise fault(f"`git {arguments[0]}` in {root} failed: {said.decode(errors='replace').strip()}")
