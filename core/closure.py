"""Which of the workspace's own files a Python file runs: its import closure, read from the source, not by importing."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LOCAL_PACKAGES = ("core", "flows", "pipelines", "registry", "serving")
# Modules that cannot move a stage's output: words for people, waiting, who may write, and what only fetches bytes whose
# sha256 the caller checks. tests/test_drivers.py changes every message in them, and every stage makes the same bytes.
BOUNDARY = (
    "core/closure.py", "core/errors.py", "core/file_locks.py", "core/patience.py", "core/progress.py",
    "core/process/memory.py", "pipelines/driver.py", "pipelines/stage.py", "registry/store/",
)  # fmt: skip


def closure(root: Path, *starts: Path, boundary: Sequence[str] = ()) -> list[Path]:
    """The files below `root` that the start files import, directly or not, themselves included; sorted.

    boundary: files, and folders with a slash at their end, that are left out with what only they import.

    Imports inside functions count; `if TYPE_CHECKING:` blocks and files that hold nothing but a docstring (most
    packages' __init__.py) do not.
    """
    top, found = root.resolve(), set[Path]()
    waiting = [start.resolve() for start in starts]
    while waiting:
        path = waiting.pop()
        if path not in found and not path.relative_to(top).as_posix().startswith(tuple(boundary)):
            found.add(path)
            waiting.extend(_read(top, path).imports)
    return sorted(path for path in found if not _read(top, path).idle)


def imported(root: Path, path: Path) -> frozenset[str]:
    """The top-level modules, libraries and own packages, that a file imports when it runs."""
    return _read(root.resolve(), path.resolve()).modules


def code_hash(root: Path, paths: Iterable[Path]) -> str:
    """One sha256 over the names and contents of code files."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.resolve().relative_to(root.resolve()).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Code:
    """What a file imports: own files, and the first part of every name. idle: it holds nothing but a docstring."""

    imports: tuple[Path, ...]
    modules: frozenset[str]
    idle: bool


@cache
def _read(root: Path, path: Path) -> _Code:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    names: set[str] = set()
    for statement in _executed(tree):
        if isinstance(statement, ast.Import):
            names.update(alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            names.update({statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names)})
    files = (_file(root, name) for name in names if name.split(".")[0] in LOCAL_PACKAGES)
    idle = all(isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant) for each in tree.body)
    return _Code(tuple(sorted(filter(None, files))), frozenset(name.partition(".")[0] for name in names), idle)


def _executed(tree: ast.AST) -> Iterable[ast.AST]:
    """Every statement except those below `if TYPE_CHECKING:`; also what only groups them, such as `except`."""
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        if not (isinstance(each, ast.If) and isinstance(each.test, ast.Name) and each.test.id == "TYPE_CHECKING"):
            yield each
            for block in ("body", "orelse", "finalbody", "handlers", "cases"):
                below = getattr(each, block, ())
                waiting.extend(below if isinstance(below, list) else ())


def _file(root: Path, module: str) -> Path | None:
    stem = root.joinpath(*module.split("."))
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file():
            return path
    return None
