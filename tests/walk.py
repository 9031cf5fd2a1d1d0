"""`make walk`: every command block of README.md and docs/tutorial.md typed in order, where `make run` was run.

A block that cannot be typed as it stands is marked by an HTML comment right before it: `<!-- walk: REASON`, then, a
line each, the commands that stand in for it, then `-->`. The walk fails at the first command that does; whatever
happens, it leaves git's status, HEAD, dvc.lock and DVC's local settings as it found them. Versions that it registered
stay.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.graph.dvc import own_programs_first

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": 6, "docs/tutorial.md": 4}  # and how many blocks of each something else stands in for
_BLOCK = re.compile(
    r"(?:<!-- walk: (?P<reason>[^\n]*)\n(?P<instead>.*?)-->\n)?```(?:bash|console|sh)\n(?P<text>.*?)```", re.DOTALL
)
_ENDS = re.compile(r"# ends with exit code (\d)")
_SOMEBODY = {  # who commits, where git has not been told
    "GIT_AUTHOR_NAME": "A reader", "GIT_AUTHOR_EMAIL": "reader@example.org",
    "GIT_COMMITTER_NAME": "A reader", "GIT_COMMITTER_EMAIL": "reader@example.org",
}  # fmt: skip
_KEPT = ("dvc.lock", ".dvc/config.local")
_SHOWN = 4000  # characters of what a failed block said last


@dataclass(frozen=True)
class Block:
    """What a reader types at one place of a page. reason: why something else is typed here; None: it is typed."""

    page: str
    line: int
    commands: str
    reason: str | None


def blocks(page: str, text: str) -> Iterator[Block]:
    """The command blocks: lines after `$ ` where there are such, else every line."""
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("text")) + 1
        if found["reason"] is not None:
            yield Block(page, line, found["instead"], found["reason"])
            continue
        lines = found["text"].splitlines()
        typed = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")] or lines
        yield Block(page, line, "\n".join(_as_said(line) for line in typed) + "\n", None)


def _as_said(line: str) -> str:
    """A line whose comment says how it ends must end so."""
    code = _ENDS.search(line)
    return f"{line.partition('  #')[0].rstrip()} && false || test $? -eq {code[1]}" if code else line


def walk() -> None:
    """Type them all. Raises SystemExit, with what was said, at the first that fails."""
    found: list[Block] = []
    for page, wanted in PAGES.items():
        there = list(blocks(page, (ROOT / page).read_text(encoding="utf-8")))
        if (marked := sum(block.reason is not None for block in there)) != wanted:
            raise SystemExit(f"{page} marks {marked} command blocks as not typed; the walk expects {wanted}.")
        found += there
    began = time.monotonic()
    with _left_as_it_was():
        for block in found:
            _type(block)
    took = time.monotonic() - began
    print(f"{len(found)} blocks, {sum(PAGES.values())} by what stands in for them, in {took:.0f} s", flush=True)


def _type(block: Block) -> None:
    began = time.monotonic()
    env = {**_SOMEBODY, **os.environ, "PATH": own_programs_first(os.environ)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block.commands],
        cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    print(f"{block.page}:{block.line} {time.monotonic() - began:6.1f} s  {block.commands.splitlines()[0]}", flush=True)
    if done.returncode:
        raise SystemExit(
            f"{block.page}:{block.line} ended with {done.returncode}:\n{block.commands}{done.stdout[-_SHOWN:]}"
        )


@contextmanager
def _left_as_it_was() -> Iterator[None]:
    """Whatever was committed, made or changed goes again; what git ignores (data/, var/) stays."""
    if _git("status", "--porcelain", "--untracked-files=no"):
        raise SystemExit("The walk changes tracked files and puts them back: commit or stash yours first.")
    head, there = _git("rev-parse", "HEAD").strip(), _untracked()
    kept = {name: (ROOT / name).read_bytes() if (ROOT / name).exists() else None for name in _KEPT}
    try:
        yield
    finally:
        _git("reset", "--quiet", head)
        _git("checkout", "--quiet", "--", ".")
        for name in _untracked() - there:
            (ROOT / name).unlink()
        for name, content in kept.items():
            if content is not None:
                (ROOT / name).write_bytes(content)
            else:
                (ROOT / name).unlink(missing_ok=True)


def _untracked() -> set[str]:
    return set(filter(None, _git("ls-files", "-z", "--others", "--exclude-standard").split("\0")))


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    walk()
