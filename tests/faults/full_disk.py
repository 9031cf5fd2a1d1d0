"""A disk that is full from a chosen write of a stage on: `python -m tests.faults.full_disk FOLDER --stride 1`.

The workspace lies on a small file system of its own (FOLDER, mounted by who calls this), and the write fills it: what
follows meets the real thing, in Python, SQLite, Arrow and safetensors alike.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from core.manifest import damage
from tests.conftest import Workspace
from tests.faults import soak
from tests.faults.writes import Trap, forked, repro


def run_full(made: Workspace, address: str, at: int) -> tuple[int, list[str]]:
    """One stage, with a disk that fills at its `at`-th write: its exit code, and what is wrong afterwards."""
    log, filler = Path(f"{made.root}.log"), Path(f"{made.root}.filler")
    log.unlink(missing_ok=True)
    code = repro(made.root, plain=False, trap=Trap(address, at, full=True), only=address)
    filled = filler.exists()
    filler.unlink(missing_ok=True)
    faults = []
    said = [line for line in log.read_text().splitlines() if f"{address} stopped" in line or "cannot write" in line]
    if code and filled and not said:
        faults.append(f"write {at}: no clear message: {log.read_text()[-1500:]}")
    if code and not filled:
        faults.append(f"write {at}: failed without a full disk: {log.read_text()[-1500:]}")
    for manifest in made.path("data").rglob("manifest.json"):
        if not manifest.parent.name.startswith(".") and (fault := damage(manifest.parent)):
            faults.append(f"write {at}: {manifest.parent}: {fault}")
    return (code if filled else 0), faults


def addresses(made: Workspace) -> list[str]:
    """Every stage of the graph, each after those that it needs."""
    forked(lambda: Path(f"{made.root}.order").write_text(json.dumps(_order(made))), made.root)
    order: list[str] = json.loads(Path(f"{made.root}.order").read_text())
    return order


def through(made: Workspace, stride: int, offset: int = 0) -> dict[str, Any]:
    """Every stage of the recipe and the index, the disk full at every `stride`-th of its writes, then with space."""
    tries, failed, faults = 0, 0, list[str]()
    for address in addresses(made):
        at, filled = 1 + offset, True
        while filled and at < 1000:
            code, wrong = run_full(made, address, at)
            filled = code != 0
            tries, failed, at = tries + 1, failed + filled, at + stride
            faults += [f"{address}: {each}" for each in wrong]
        # The last try had space again, and ended well, unless the writes to try ended first.
        if filled and (code := repro(made.root, plain=False, only=address)):
            faults.append(f"{address}: with space again it ended with {code}")
        so_far = f"{failed} of {tries} tries met the full disk, {len(faults)} faults"
        print(f"up to {address}: {so_far}", file=sys.stderr, flush=True)
    return {"tries": tries, "met": failed, "faults": faults + soak.faults_of(made)}


def _order(made: Workspace) -> list[str]:
    from flows.graph.graph import Graph

    return [node.address for node in Graph(made.root).nodes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--offset", type=int, default=0)
    arguments = parser.parse_args()
    soak.import_all()
    found = through(soak.make(arguments.folder.resolve() / "workspace"), arguments.stride, arguments.offset)
    print(json.dumps(found, indent=1))
    sys.exit(1 if found["faults"] else 0)


if __name__ == "__main__":
    main()
