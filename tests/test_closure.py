"""Which files a Python file runs: the hash that makes a stage stale when one of them changes."""

from __future__ import annotations

from pathlib import Path

from core import closure as subject
from core.closure import closure, code_hash
from pipelines.tasks import task_files
from tests.conftest import ROOT


def package(root: Path, **files: str) -> Path:
    """A package `pipelines` of these modules; `a__b` is a/b.py."""
    for name, text in files.items():
        path = root / "pipelines" / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root / "pipelines"


def names(root: Path, *starts: Path) -> list[str]:
    return [path.relative_to(root / "pipelines").as_posix() for path in closure(root, *starts)]


def test_imports_are_followed_wherever_they_stand(tmp_path: Path) -> None:
    top = package(
        tmp_path,
        start="import os\nimport numpy\nfrom pipelines import one\n\ndef f():\n    from pipelines.two import x\n",
        one="import pipelines.sub.three\n",
        two="from pipelines.one import y\n",  # a circle
        sub__three="x = 1\n",
        unused="x = 1\n",
    )
    assert names(tmp_path, top / "start.py") == ["one.py", "start.py", "sub/three.py", "two.py"]


def test_types_and_empty_packages_do_not_count(tmp_path: Path) -> None:
    top = package(
        tmp_path,
        start=(
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pipelines.one import X\n"
            "from pipelines.sub import three\n"
        ),
        one="class X: ...\n",
        sub__three="x = 1\n",
    )
    (top / "sub" / "__init__.py").write_text('"""What the room is."""\n')
    assert names(tmp_path, top / "start.py") == ["start.py", "sub/three.py"]
    (top / "sub" / "__init__.py").write_text("x = 1\n")
    subject._read.cache_clear()
    assert "sub/__init__.py" in names(tmp_path, top / "start.py")


def test_the_hash_moves_with_content_and_name_only(tmp_path: Path) -> None:
    top = package(tmp_path, a="x = 1\n", b="x = 2\n")
    both = [top / "a.py", top / "b.py"]
    first = code_hash(tmp_path, both)
    assert code_hash(tmp_path, reversed(both)) == first
    elsewhere = package(tmp_path / "elsewhere", a="x = 1\n", b="x = 2\n")
    assert code_hash(tmp_path / "elsewhere", [elsewhere / "a.py", elsewhere / "b.py"]) == first
    (top / "b.py").write_text("x = 3\n")
    assert code_hash(tmp_path, both) != first
    (top / "b.py").write_text("x = 2\n")
    (top / "b.py").rename(top / "c.py")
    assert code_hash(tmp_path, [top / "a.py", top / "c.py"]) != first


def test_a_task_of_this_project_brings_what_it_shares() -> None:
    found = {path.name for path in closure(ROOT, task_files()["text_classification"])}
    assert {"text_classification.py", "classification.py", "tokens.py"} <= found
    assert "collect.py" not in found
