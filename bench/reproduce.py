"""Every method's version made again from a remote and an empty cache: is it equal, and what does that cost?

The small trainings of tests/faults/trainings.py, two tasks, each beside the `headrace run` that made the version.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from bench.measure import ratio, seconds
from tests.conftest import Workspace
from tests.faults.trainings import SUBJECTS, make_subjects


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = make_subjects(Path(folder) / "workspace")
        try:
            _report(made, Path(folder) / "remote")
        finally:
            made.headrace("stop")


def _report(made: Workspace, remote: Path) -> None:
    made.dvc("remote", "add", "-q", "-d", "store", str(remote))
    made.headrace("lock")
    made.git("add", "-A")
    made.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "subjects")
    first = [seconds(lambda name=name: _obeyed(made, "run", name)) for name in SUBJECTS]  # type: ignore[misc]
    if made.dvc("push", "-q").returncode:
        raise SystemExit("dvc push failed")
    again = []
    for name in SUBJECTS:
        shutil.rmtree(made.path(".dvc/cache"), ignore_errors=True)
        again.append(seconds(lambda name=name: _obeyed(made, "reproduce", f"{name}/1")))  # type: ignore[misc]
        print(f"{name}: run {first[len(again) - 1]:.1f} s, made again {again[-1]:.1f} s, equal by sha256", flush=True)
    print(f"{len(again)} of {len(SUBJECTS)} equal; making one again costs {ratio(again, first)} of its run")


def _obeyed(made: Workspace, *command: str) -> None:
    """A command that must succeed; of `reproduce`, that means equal weights and metrics."""
    done = made.headrace(*command, "--json")
    if done.returncode:
        raise SystemExit(f"headrace {' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    json.loads(done.stdout)


if __name__ == "__main__":
    main()
