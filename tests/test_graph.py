"""dvc.yaml against the code: a stage's deps are exactly the files that it runs."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from core.closure import closure

ROOT = Path(__file__).parents[1]
STAGES: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


# Files that a stage packs or starts as programs of their own, without importing them.
PROGRAMS = {"register": ("registry/version/pyfunc.py", "registry/version/rehearsal.py")}


def module_of(stage: str) -> Path:
    module: str = STAGES[stage]["do"]["cmd"].split()[2]
    return ROOT / module.replace(".", "/") / "__main__.py"


def code_deps(stage: str) -> set[str]:
    return {dep for dep in STAGES[stage]["do"]["deps"] if dep.endswith(".py") and "${" not in dep}


def test_the_stages_are_those_of_the_interface() -> None:
    assert list(STAGES) == [
        "settings", "collect", "validate", "preprocess", "train", "evaluate", "register",
        "resolve", "documents", "screen", "chunk", "embed", "publish",
    ]  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_exactly_the_code_a_stage_runs(stage: str) -> None:
    folders = {dep for dep in STAGES[stage]["do"]["deps"] if dep in ("pipelines/tasks", "pipelines/sources")}
    started = [ROOT / program for program in PROGRAMS.get(stage, ())]
    runs = {path.relative_to(ROOT).as_posix() for path in closure(ROOT, module_of(stage), *started)}
    runs = {path for path in runs if not path.startswith(tuple(f"{folder}/" for folder in folders))}
    assert sorted(code_deps(stage)) == sorted(runs)


@pytest.mark.parametrize("stage", STAGES)
def test_every_out_persists(stage: str) -> None:
    do = STAGES[stage]["do"]
    for out in [*do.get("outs", []), *do.get("metrics", []), *do.get("plots", [])]:
        assert list(out.values()) == [{"persist": True}], out


def test_the_closure_agrees_with_the_interpreter() -> None:
    """The files that importing a stage loads are among those that its closure names."""
    code = (
        "import sys, pipelines.collect.collect\n"
        "print('\\n'.join(m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)))"
    )
    import sys

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {Path(line) for line in done.stdout.split("\n") if line.startswith(str(ROOT / "pipelines"))}
    loaded = {path for path in loaded if ast.parse(path.read_text()).body[1:]}  # more than its docstring
    assert loaded
    assert loaded <= set(closure(ROOT, ROOT / "pipelines/collect/collect.py"))
