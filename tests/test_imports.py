"""The table "Who may import whom": walked over every file, so that a new file is held to it on arrival."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOPS = ("flows", "pipelines", "registry", "serving")
FILES = sorted(path.relative_to(ROOT) for top in TOPS for path in (ROOT / top).rglob("*.py"))
STAGES = {
    "settings", "collect", "validate", "preprocess", "train", "evaluate", "register", "chunk", "embed", "publish",
}  # fmt: skip
OWNERS = {
    "great_expectations": ("pipelines/validate.py",),
    "mlflow": ("registry/",),
    "dvc": ("flows/",),
    "prefect": ("flows/",),
    "qdrant_edge": ("pipelines/search/edge.py",),
    "qdrant_client": ("pipelines/search/server.py",),
    "onnx": ("pipelines/onnx.py",),
    "onnx_ir": ("pipelines/onnx.py",),
    "onnxruntime": ("pipelines/onnx.py",),
}
ASKING = {  # files of registry/ that ask a model
    "served.py": ("pipelines.task", "pipelines.tasks"),
    "variant.py": ("pipelines.task", "pipelines.onnx"),
}
HEAVY = {"torch", "transformers", "peft", "diffusers", "sklearn", "datasets", "great_expectations", "mlflow"}


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


def test_walks_the_whole_house() -> None:
    assert len(FILES) >= 40
    stems = {path.stem for path in FILES if path.parts[0] == "pipelines"}
    assert not STAGES - stems


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_library_has_one_owner(path: Path) -> None:
    for library in tops(path) & OWNERS.keys():
        assert str(path).startswith(OWNERS[library]), f"{path} imports {library}, which belongs to {OWNERS[library]}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_who_may_import_whom(path: Path) -> None:
    names = imported(path)
    local = {name for name in names if name.split(".")[0] in TOPS}
    top = path.parts[0]
    if top == "flows":
        assert not tops(path) & {"torch", "transformers", "great_expectations", "mlflow"}
    else:
        assert not any(name.startswith("flows") for name in local), f"{path} imports flows"
    if top in ("pipelines", "registry"):
        assert not any(name.startswith("serving") for name in local), f"{path} imports serving"
    if top == "serving":
        foreign = {name for name in local if not name.startswith(("serving", "registry", "pipelines.search", *SHARED))}
        assert not foreign, f"{path} imports {foreign}"
    if top == "registry":
        allowed = ("registry", *ASKING.get(path.name, ()))
        foreign = {name for name in local if not name.startswith((*allowed, *SHARED))}
        assert not foreign, f"{path} imports {foreign}"
    if top == "pipelines" and path.parts[1] == "tasks":
        assert not {name for name in local if name.split(".")[0] == "registry"}
    if top == "pipelines" and path.stem in STAGES and len(path.parts) == 2:
        others = STAGES - {path.stem, "settings"}
        stages = {name for name in local if name.startswith("pipelines.") and name.split(".")[1] in others}
        assert not stages, f"{path} imports a stage: {stages}"


# What has no ML and no state, and may therefore be used everywhere: errors, paths, settings sections.
SHARED = (
    "pipelines.errors", "pipelines.workspace", "pipelines.closure", "pipelines.schema", "pipelines.contract",
    "pipelines.kept", "pipelines.reflink", "pipelines.access", "pipelines.addresses", "pipelines.sources.readers",
)  # fmt: skip


def test_the_command_is_light() -> None:
    import subprocess

    code = "import sys, flows.cli; print('\\n'.join(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = HEAVY | {"prefect", "dvc", "qdrant_client", "qdrant_edge", "pandas", "pyarrow", "numpy"}
    assert not heavy & set(done.stdout.split())
