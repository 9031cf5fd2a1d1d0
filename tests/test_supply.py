"""What `make install` takes from a registry: each file by its hash, wheels but for the one that is named."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = {"requirements.lock": 340, "installer.lock": 2}


@pytest.mark.parametrize(("name", "at_least"), LOCKS.items())
def test_every_pin_has_hashes_and_is_a_wheel(name: str, at_least: int) -> None:
    text = (ROOT / name).read_text()
    pins = re.findall(r"^([\w.-]+)==\S+(?: ;[^\n]*)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.M)
    assert len(pins) == len(re.findall(r"^[\w.-]+==", text, re.M)) >= at_least
    options = re.findall(r"^(--[^\n#]+?) *(?:#.*)?$", text, re.M)
    exceptions = ["--no-binary antlr4-python3-runtime"] if name == "requirements.lock" else []
    assert options == ["--require-hashes", "--only-binary :all:", *exceptions]


def test_make_installs_from_the_locks_alone_and_tries_every_extra() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert "--require-virtualenv -r installer.lock\n" in makefile
    assert "--require-virtualenv --no-build-isolation -r requirements.lock\n" in makefile
    assert "--dry-run --only-binary :all: --no-build-isolation --constraint" in makefile
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["audio"] == ["soundfile"] and len(extras) == 9


def test_a_file_that_was_altered_on_the_way_is_refused(tmp_path: Path) -> None:
    """With the lock's own options: a wheel of the right name and version, and other content."""
    head = "".join(line for line in (ROOT / "requirements.lock").open() if line.startswith("--"))
    (pin,) = re.findall(r"^six==.*?(?=^\S)", (ROOT / "requirements.lock").read_text(), re.M | re.S)
    with zipfile.ZipFile(tmp_path / "six-1.17.0-py2.py3-none-any.whl", "w") as wheel:
        wheel.writestr("six.py", "")
        wheel.writestr("six-1.17.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: six\nVersion: 1.17.0\n")
        wheel.writestr("six-1.17.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py2-none-any\nTag: py3-none-any\n")
        wheel.writestr("six-1.17.0.dist-info/RECORD", "")
    (tmp_path / "lock").write_text(head + pin)
    pip = [sys.executable, "-m", "pip", "--isolated", "install", "--dry-run", "--ignore-installed", "--no-index"]
    done = subprocess.run(
        [*pip, "--find-links", str(tmp_path), "--target", str(tmp_path / "to"), "-r", str(tmp_path / "lock")],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={"PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.returncode != 0 and "DO NOT MATCH THE HASHES" in done.stderr, done.stderr
