"""Who may import whom, as docs/house.md says it: walked over every file, so a new one is held to it on arrival."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = ("core", "registry", "pipelines", "serving", "flows")  # each imports itself and what stands before it
FILES = sorted(path.relative_to(ROOT) for top in FLOORS for path in (ROOT / top).rglob("*.py"))
STAGES = {
    "settings", "collect", "validate", "preprocess", "train", "evaluate", "register", "chunk", "embed", "publish",
}  # fmt: skip
LARGEST_ROOM = 12  # files, __init__.py and __main__.py not counted
OWNERS: dict[str, str | tuple[str, ...]] = {
    "great_expectations": ("pipelines/expectations/", "pipelines/validate/"),
    "mlflow": "registry/",
    "dvc": "flows/",
    "prefect": "flows/",
    "qdrant_edge": "pipelines/search/engine/embedded.py",
    "qdrant_client": "pipelines/search/engine/qdrant_server.py",
    "skops": "pipelines/tasks/parts/tables/estimator_file.py",
    "onnx": "registry/version/onnx_graph.py",
    "onnx_ir": "registry/version/onnx_graph.py",
    "onnxruntime": "registry/version/onnx_graph.py",
}
UP = {("registry/version/answerer.py", "pipelines.tasks")}  # what a version answers by looks for its task
HEAVY = {"torch", "transformers", "peft", "diffusers", "sklearn", "datasets", "great_expectations", "mlflow"}


@cache
def imported(path: Path) -> set[str]:
    """Dotted names of every module that a file imports, at the top or in a function."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def module(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def uses(path: Path) -> set[Path]:
    """The files of this project that a file imports."""
    return {MODULES[name] for name in imported(path) if name in MODULES} - {path}


def test_walks_the_whole_house() -> None:
    assert len(FILES) >= 250
    assert {path.parts[1] for path in FILES if path.parts[0] == "pipelines" and path.name == "__main__.py"} == STAGES


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_library_has_one_owner(path: Path) -> None:
    for library in tops(path) & OWNERS.keys():
        assert str(path).startswith(OWNERS[library]), f"{path} imports {library}, which belongs to {OWNERS[library]}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_down(path: Path) -> None:
    floor = path.parts[0]
    below = FLOORS[: FLOORS.index(floor) + 1]
    above = {name for name in imported(path) if name.split(".")[0] in FLOORS and name.split(".")[0] not in below}
    above -= {name for file, up in UP if file == path.as_posix() for name in above if name.startswith(up)}
    assert not above, f"{path} imports {above}, which stands on it"
    if floor == "flows":
        assert not tops(path) & {"torch", "transformers"}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_stages_inside_is_its_own(path: Path) -> None:
    """No other stage imports it, and flows/ starts it."""
    parts = path.parts
    own = parts[1] if parts[0] == "pipelines" and parts[1] in STAGES else None
    if own is None and parts[0] != "flows":
        return
    inside = {name for name in imported(path) if name.startswith("pipelines.") and name.split(".")[1] in STAGES - {own}}
    assert not inside, f"{path} imports {inside}"


def rooms_at(depth: int) -> dict[str, set[str]]:
    """The graph of folders, cut at a depth: 1 is the floors."""
    graph: dict[str, set[str]] = {}
    for path in FILES:
        here = "/".join(path.parent.parts[:depth])
        for other in uses(path):
            there = "/".join(other.parent.parts[:depth])
            nested = here.startswith(f"{there}/") or there.startswith(f"{here}/")
            if there != here and not nested and (path.as_posix(), module(other)) not in UP:
                graph.setdefault(here, set()).add(there)
    return graph


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_no_circle_of_rooms(depth: int) -> None:
    try:
        TopologicalSorter(rooms_at(depth)).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle: {' -> '.join(error.args[1])}") from None


def test_no_circle_of_files() -> None:
    try:
        TopologicalSorter({path: uses(path) for path in FILES}).prepare()
    except CycleError as error:
        raise AssertionError(f"a circle: {' -> '.join(map(str, error.args[1]))}") from None


def test_a_room_is_small_and_says_what_it_is() -> None:
    rooms = Counter(path.parent for path in FILES if not path.name.startswith("__"))
    assert {str(room): count for room, count in rooms.items() if count > LARGEST_ROOM} == {}
    silent = [room for room in rooms if not (ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text())))]
    assert not silent, f"no sentence in the __init__.py of {silent}"


def test_no_two_files_have_one_name() -> None:
    """But a stage's own, which is called as its folder is."""
    names = Counter(path.name for path in FILES if not path.name.startswith("__"))
    assert {name: count for name, count in names.items() if count > 1} == {}


def test_the_command_is_light() -> None:
    code = "import sys, flows.cli; print('\\n'.join(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = HEAVY | {"prefect", "dvc", "qdrant_client", "qdrant_edge", "pandas", "pyarrow", "numpy"}
    assert not heavy & set(done.stdout.split())
