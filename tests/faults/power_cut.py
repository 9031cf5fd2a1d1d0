"""Power cuts at random writes and syncs of all stages: `python -m tests.faults.power_cut FOLDER --cuts 50 --seed 1`.

Every process dies at once, then the disk loses what was not synced (tests/faults/disk.py). The next run must finish by
itself, with the outputs of a workspace that nobody disturbed. Every fourth cut falls right after a run that ended well,
and takes all that is not synced: then nothing of what the run made may be missing.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from tests.conftest import Workspace
from tests.faults import soak
from tests.faults.disk import Disk, watch
from tests.faults.writes import DVC, Trap, repro

_AT_THE_END = 4  # every fourth cut
_BOOT = "var/boot.json"


def cut_on_the_way(made: Workspace, right: soak.Undisturbed, draw: random.Random) -> dict[str, Any]:
    """Cut the power at a write or a sync of some process, lose what a seed draws, and let the next run finish."""
    disk, plain = Disk(made.root), draw.random() < 0.5
    disk.begin()
    who = draw.choice([DVC, *sorted(right.record), *sorted(right.record)])
    trap = Trap(who, draw.randint(1, max(1, right.record[who][0])), group=True)
    code = repro(made.root, plain=plain, trap=trap, watch=watch)
    lost = _lose(disk, draw if draw.random() < 0.7 else None)
    began = time.monotonic()
    ended = repro(made.root, plain=False)
    took = time.monotonic() - began
    faults = [f"the next run ended with {ended}: {_log(made)}"] if ended else _faults(made, right)
    by = "dvc repro" if plain else "headrace"
    return {"trap": f"{trap}, by {by}", "code": code, "lost": lost, "repair_s": round(took, 1), "faults": faults}


def cut_at_the_end(made: Workspace, right: soak.Undisturbed) -> dict[str, Any]:
    """Cut the power when a run of ours has ended well, lose all that may be lost, and miss nothing."""
    disk = Disk(made.root)
    disk.begin()
    code = repro(made.root, plain=False, watch=watch)
    lost = _lose(disk, None)
    faults = [f"the run ended with {code}: {_log(made)}"] if code else _faults(made, right)
    return {"trap": "after the end", "code": code, "lost": lost, "faults": faults}


def _lose(disk: Disk, draw: random.Random | None) -> list[str]:
    lost = disk.cut(draw)
    (disk.root / _BOOT).unlink(missing_ok=True)  # a machine that lost its power starts anew
    return lost


def _faults(made: Workspace, right: soak.Undisturbed) -> list[str]:
    found = soak.entries(made)
    faults = [f"{each} is not as undisturbed" for each in right.entries if right.entries[each] != found.get(each)]
    return faults + soak.faults_of(made)


def _log(made: Workspace) -> str:
    return Path(f"{made.root}.log").read_text()[-3000:]


def through(folder: Path, *, cuts: int, seed: int, minutes: float) -> dict[str, Any]:
    """Cut after cut, each after a change of the data. What was done, and what was wrong."""
    draw, deadline, all_done = random.Random(seed), time.monotonic() + minutes * 60, list[dict[str, Any]]()
    calm = soak.make(folder / "undisturbed")
    states: dict[int, soak.Undisturbed] = {}
    for number in range(cuts):
        state = number % soak.STATES
        if not state:
            made = soak.make(folder / f"cut-{number // soak.STATES}")
        if state not in states:
            states[state] = soak.undisturbed(calm, state, watch=watch)
        soak.change(made, state)
        Path(f"{made.root}.log").unlink(missing_ok=True)
        end = number % _AT_THE_END == 0
        all_done.append(cut_at_the_end(made, states[state]) if end else cut_on_the_way(made, states[state], draw))
        print(f"cut {number + 1}: {json.dumps(all_done[-1])}", file=sys.stderr, flush=True)
        if all_done[-1]["faults"] or time.monotonic() > deadline:
            break  # as it stands, for a person to look at
    lost, faults = (sum(len(done[key]) for done in all_done) for key in ("lost", "faults"))
    return {"cuts": len(all_done), "lost": lost, "faults": faults}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cuts", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=60.0, help="ends after the cut that runs then")
    arguments = parser.parse_args()
    soak.import_all()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    found = through(folder, cuts=arguments.cuts, seed=arguments.seed, minutes=arguments.minutes)
    print(json.dumps(found))
    sys.exit(1 if found["faults"] else 0)


if __name__ == "__main__":
    main()
