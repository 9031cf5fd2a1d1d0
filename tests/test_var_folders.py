"""var/ as flows/cleanup/var_folders.py describes it: as code writes it, as the documentation shows it.

tests/conftest.py compares it with the var/ of every workspace in which a test ran stages and commands, and
tests/gc/test_var.py with what gc frees.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from flows.cleanup.var_folders import PLACES, Place, place_of
from tests.conftest import ROOT, undescribed

FLOORS = ("core", "registry", "pipelines", "serving", "flows")
# Where the name below var/ is a variable: the servers' (prefect, mlflow), or of a place that is described.
BY_VARIABLE = {
    "flows/servers/local.py", "flows/cleanup/disk.py", "flows/cleanup/unused_files.py", "flows/forget/swept_files.py",
}  # fmt: skip
FORGET = {"remove": "removed", "rewrite": "the text is taken out", "keep": "stays: {why}", "not looked at": "its own"}


@cache
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for floor in FLOORS for path in sorted((ROOT / floor).rglob("*.py"))}


def constants() -> dict[str, str]:
    """Strings that modules give names to."""
    found = dict[str, str]()
    for tree in trees().values():
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
                value = str(node.value.value)
                found |= {target.id: value for target in node.targets if isinstance(target, ast.Name)}
    return found


def is_var(node: ast.expr) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == "var") or (isinstance(node, ast.Name) and node.id == "var")


def written() -> dict[str | None, set[str]]:
    """What follows `var / ` in the code -> where; None: something that is no constant."""
    known, found = constants(), dict[str | None, set[str]]()
    for path, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and is_var(node.left):
                part = node.right
                name = str(part.value) if isinstance(part, ast.Constant) else known.get(getattr(part, "id", ""))
                found.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    return found


def test_code_writes_what_is_described_and_nothing_else() -> None:
    found = written()
    assert found.pop(None) == BY_VARIABLE
    described = {place.name for place in PLACES if "/" not in place.name}
    assert found.keys() == described - {"peers"}, "flows/cleanup/var_folders.py says what lies in var/"
    assert "var/peers" in (ROOT / "Makefile").read_text()
    assert len(found) >= 20


def test_each_place_is_described_once_with_its_reasons() -> None:
    assert len({place.name for place in PLACES}) == len(PLACES) >= 24
    for place in PLACES:
        assert (place.forget == "keep") == bool(place.why), place.name


@pytest.mark.parametrize(
    ("below", "name"),
    [("logs/stages/train@a.log", "logs/stages"), ("logs/mlflow.log", "logs"), ("boot.json", "boot.json")],
)
def test_the_innermost_place_counts(below: str, name: str) -> None:
    assert place_of(Path(below)).name == name


def test_what_nobody_described_is_swept_and_found(tmp_path: Path) -> None:
    assert place_of(Path("new/a/b")).forget == "remove"
    for name in ("new", "locks", "headrace-x1", ".x.new"):
        (tmp_path / name).mkdir()
    assert undescribed(tmp_path) == {"new"}
    assert undescribed(tmp_path / "none") == set()


def test_the_documentation_has_the_same_table() -> None:
    text = (ROOT / "docs/registry.md").read_text()
    _, _, rest = text.partition("## What lies in var/")
    lines = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| `var/")]
    assert lines == [row(place) for place in PLACES]


def row(place: Place) -> str:
    freed = f"{place.gc.what}: {place.gc.because}" if place.gc else ""
    forgotten = "the file is removed" if place.running else FORGET[place.forget].format(why=place.why)
    return f"| `var/{place.name}` | {place.holds} | {freed} | {forgotten} |"
