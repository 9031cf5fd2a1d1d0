"""dvc.yaml against the code: short, without a file of code, each stage with its own key of code.json."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from core.closure import closure
from pipelines.code import document

ROOT = Path(__file__).parents[1]
STAGES: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


ROWS = {name: stage.get("do", stage) for name, stage in STAGES.items()}


def test_it_is_short_and_names_no_file_of_code() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    assert len(text.splitlines()) <= 150
    assert ".py" not in text


def test_each_stage_names_its_own_key_of_the_code() -> None:
    known = document(ROOT)
    for name, row in ROWS.items():
        if name != "code":
            stage = row["cmd"].split()[2].rpartition(".")[2]
            keys = next(each["data/code.json"] for each in row["params"] if "data/code.json" in each)
            assert keys[0] == stage
            assert {key.partition(".")[0] for key in keys} <= known.keys()


def test_the_stages_are_those_of_the_interface() -> None:
    assert list(STAGES) == [
        "code", "settings", "collect", "validate", "preprocess", "train", "evaluate", "register",
        "resolve", "documents", "screen", "chunk", "embed", "publish",
    ]  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_every_out_persists(stage: str) -> None:
    do = ROWS[stage]
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
