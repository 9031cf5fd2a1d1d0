"""README: every command it shows exists, and the order that it promises holds. `make walk` types them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.command import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(?:bash|console|sh)\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[str]:
    """The lines that a reader would type: after `$ ` in a console block, every line of a bash block."""
    found = []
    for block in BLOCKS:
        lines = block.splitlines()
        typed = [line[2:] for line in lines if line.startswith("$ ")] or lines
        found += [line.split("  #")[0].strip() for line in typed if line.strip() and not line.startswith("#")]
    return found


HEADRACE = sorted({command for command in commands() if command.startswith("headrace ")})
MAKE = sorted({command.split()[1] for command in commands() if command.startswith("make ")})


def test_it_shows_commands() -> None:
    assert len(HEADRACE) >= 12
    assert {"run", "test"} <= set(MAKE)


def test_install_comes_first() -> None:
    lines = README.splitlines()
    assert any(line.startswith("make run ") for line in lines[:15])
    assert any("accuracy" in line for line in lines[:40]), "the pipeline's real output"


@pytest.mark.parametrize("target", MAKE)
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


@pytest.mark.parametrize("command", HEADRACE)
def test_verbs_and_options_exist(command: str) -> None:
    """Each shown option is one of its verb's."""
    _, verb, *arguments = shlex.split(command.split(" | ")[0].split(" <")[0])
    if verb == "--help":
        return
    shown = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).output
    for argument in arguments:
        if argument.startswith("-"):
            assert argument.split("=")[0] in shown, f"{verb} has no {argument}"
