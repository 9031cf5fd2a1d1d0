"""The one door to DVC: what every process that loads it is given first, and DVC's own command line behind the same.

`python -m flows.graph.dvc pull --allow-missing` is `dvc pull --allow-missing`, and refuses what the commands of
Headrace refuse. Inside Headrace flows/graph/graph.py loads DVC, and nothing starts it by its name.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.addresses import spare_loopback
from core.atomic_files import write_text
from flows.graph import rot


def guard() -> None:
    """Let this process's DVC refuse lists that lead out of their folder, and find `python` where this Python lies."""
    rot.keep_inside()
    spare_loopback()
    os.environ["PATH"] = own_programs_first(os.environ)


def own_programs_first(environment: Mapping[str, str]) -> str:
    """A PATH on which this Python's folder comes first: stages say `python`, wherever Headrace was started from."""
    own = str(Path(sys.executable).parent)
    others = environment.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join([own, *(place for place in others if place != own)])


def own_code_last(environment: Mapping[str, str]) -> str:
    """A PYTHONPATH on which this code comes last: a child of this process runs it, wherever its folder is."""
    return os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), str(Path(__file__).parents[2])]))


def write_yaml(path: Path, document: Mapping[str, Any]) -> None:
    """Replace a file that DVC reads and writes, in block style as DVC does.

    What it is given in flow style (JSON, say) it writes back in flow style, where its parser does not read an unquoted
    `package://x`.
    """
    from dvc.utils.serialize import dumps_yaml

    write_text(path, dumps_yaml(document))


def share_cache(root: Path, cache: Path) -> None:
    """Let a clone keep its objects in another workspace's cache."""
    from dvc.config import Config

    with Config(dvc_dir=str(root / ".dvc")).edit("repo") as settings:
        settings["cache"]["dir"] = str(cache)


def main() -> int:
    """DVC's own command line. Returns its exit code."""
    guard()
    from dvc.cli import main as command

    return int(command(sys.argv[1:]))


if __name__ == "__main__":
    sys.exit(main())
