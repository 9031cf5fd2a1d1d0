"""What the second driver costs: `headrace run` beside a bare `dvc repro` of the same stale stages, and when idle.

A small recipe, so that the drivers' own time is what shows. The server is warm; runs alternate.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from bench.measure import seconds
from tests.conftest import Workspace, film_rows, make_tiny

PAIRS = 5


def timed(workspace: Workspace, *command: str) -> float:
    def work() -> None:
        done = workspace.run(sys.executable, "-m", *command)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    return seconds(work)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = make_tiny(Path(folder) / "workspace")
        try:
            _report(workspace)
        finally:
            workspace.headrace("stop")


def _report(workspace: Workspace) -> None:
    timed(workspace, "flows.cli", "run")  # warms the server and the disk
    stale: dict[str, list[float]] = {"dvc repro": [], "headrace run": []}
    idle: dict[str, list[float]] = {"dvc status": [], "headrace run": []}
    for number in range(PAIRS):
        for driver, command in (("dvc repro", ("dvc", "repro", "-q")), ("headrace run", ("flows.cli", "run"))):
            workspace.write_rows(film_rows(240 + 2 * number + (driver == "dvc repro")))  # every stage is stale
            stale[driver].append(timed(workspace, *command))
        idle["dvc status"].append(timed(workspace, "dvc", "status", "-q"))
        idle["headrace run"].append(timed(workspace, "flows.cli", "run"))
    for what, figures in (("seven stale stages", stale), ("nothing to do", idle)):
        (bare, theirs), (ours_name, ours) = figures.items()
        added = [a - b for a, b in zip(ours, theirs, strict=True)]
        print(
            f"{what}: {bare} {statistics.median(theirs):.1f} s, {ours_name} {statistics.median(ours):.1f} s, "
            f"added {statistics.median(added):+.1f} s (from {min(added):+.1f} to {max(added):+.1f}, {PAIRS} pairs)"
        )
    for arguments in (("--help",), ("query", "--help")):
        times = [timed(workspace, "flows.cli", *arguments) for _ in range(PAIRS)]
        print(f"headrace {' '.join(arguments)}: {statistics.median(times):.2f} s")


if __name__ == "__main__":
    shutil.which("dvc") or sys.exit("dvc is not on PATH: activate .venv first")
    main()
