"""`headrace run` killed while it trains, alone and with all around it: `python -m tests.faults.drivers FOLDER`.

Every subject of tests/faults/trainings.py, for longer trainings. The next run must end with the bytes of an undisturbed
one, in the MLflow run that the killed one began. tests/faults/test_resume.py does it for one recipe, `dvc repro` too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.conftest import Workspace
from tests.faults import trainings
from tests.faults.soak import import_all, strays
from tests.tiny_graph import until

_LONGER = {"epochs: 3": "epochs: 60", "patience: 2": "patience: 60"}


def make(root: Path) -> Workspace:
    """As make_subjects(), with trainings of some seconds."""
    made = trainings.make_subjects(root)
    for name in trainings.SUBJECTS:
        text = made.path("recipes", f"{name}.yaml").read_text()
        for before, after in _LONGER.items():
            text = text.replace(before, after)
        made.write(f"recipes/{name}.yaml", text)
    return made


def kill_and_go_on(made: Workspace, name: str, right: dict[str, str], *, group: bool) -> dict[str, Any]:
    """One run, killed when the training has a checkpoint, and the next run."""
    shutil.rmtree(made.path("data/models", name, "model"))
    command = [sys.executable, "-m", "flows.cli", "run", name]
    with Path(f"{made.root}.log").open("w") as said:
        process = subprocess.Popen(
            command, cwd=made.root, env=made.env, stdout=said, stderr=said, start_new_session=True
        )
        checkpoints = made.path("var/checkpoints", name)
        until(lambda: process.poll() is not None or bool(list(checkpoints.glob("*/step-*"))), timeout_s=120)
        ended = process.poll()
        (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
    until(lambda: not working(made), timeout_s=30)
    done = made.headrace("run", name)
    faults = [f"the killed run had ended with {ended}"] if ended is not None else []
    faults += [done.stdout + done.stderr] if done.returncode else trainings.check(made, name, right)
    return {"name": name, "killed": "the whole group" if group else "the driver", "faults": faults}


def working(made: Workspace) -> list[str]:
    """Processes in the workspace, its servers aside."""
    return [each for each in strays(made) if "prefect" not in each and "mlflow" not in each]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0, help="ends after the subject that is tried then")
    arguments = parser.parse_args()
    import_all()
    made = make(arguments.folder.resolve())
    deadline, tries = time.monotonic() + arguments.minutes * 60, list[dict[str, Any]]()
    for name in trainings.SUBJECTS:
        if time.monotonic() > deadline:
            break
        done = made.headrace("run", name)
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        right = made.hashes(f"data/models/{name}/model")
        for group in (False, True):
            tries.append(kill_and_go_on(made, name, right, group=group))
            print(json.dumps(tries[-1]), file=sys.stderr, flush=True)
    made.headrace("stop")
    print(json.dumps({"kills": len(tries), "tries": tries}))
    sys.exit(1 if any(tried["faults"] for tried in tries) else 0)


if __name__ == "__main__":
    main()
