"""`headrace lineage` over fifty versions of a busy registry: nothing left out, every hash computed again, and how fast.

The versions are made by the real stages over data that changes each time. Then one bit is flipped in one thing that a
version is made of, again and again, and lineage must name that very thing.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from core.atomic_files import sha256_file
from core.workspace import Workspace
from flows.graph.graph import Graph
from flows.graph.rot import md5_file
from flows.lineage.trace import trace
from registry.store import versions
from registry.version.version_lineage import Lineage
from tests.faults import soak
from tests.faults.writes import repro

VERSIONS = int(os.environ.get("BENCH_VERSIONS", "50"))
FLIPS = int(os.environ.get("BENCH_FLIPS", "50"))
_MODEL = "tiny"
_HASHED_MB = 256
_EXPECTED = {"version", "evidence", "run", "stage", "data", "source", "code"}


def main() -> None:
    soak.import_all()
    with tempfile.TemporaryDirectory() as folder:
        _speed(Path(folder) / "large")
        made = soak.make(Path(folder) / "workspace")
        for number in range(VERSIONS):
            soak.change(made, number)
            if code := repro(made.root, plain=False):
                raise SystemExit(f"version {number + 1}: ended with {code}:\n{Path(f'{made.root}.log').read_text()}")
        _closures(Workspace(made.root))
        _flips(Workspace(made.root))


def _speed(file: Path) -> None:
    file.write_bytes(os.urandom(1 << 20) * _HASHED_MB)
    for name, of in (("sha256", sha256_file), ("md5", md5_file)):
        began = time.perf_counter()
        of(file)
        print(f"{name}: {_HASHED_MB / (time.perf_counter() - began):,.0f} MB/s", flush=True)
    file.unlink()


def _traced(workspace: Workspace, version: str) -> tuple[Lineage, float]:
    began = time.perf_counter()
    return trace(workspace, _MODEL, version), time.perf_counter() - began


def _closures(workspace: Workspace) -> None:
    found = [version.version for version in versions.versions(_MODEL, workspace.var)]
    _traced(workspace, found[0])  # the imports
    took, verified, faults = list[float](), 0, list[str]()
    for version in found:
        graph, seconds = _traced(workspace, version)
        kinds = {node.kind for node in graph.nodes}
        if not kinds >= _EXPECTED:
            raise SystemExit(f"{_MODEL}/{version}: no {', '.join(sorted(_EXPECTED - kinds))}")
        took.append(seconds)
        verified += sum(node.state == "verified" for node in graph.nodes)
        faults += [f"{_MODEL}/{version}: {node.kind} {node.label}: {node.state}, {node.why}" for node in graph.faults]
    print(
        f"{len(found)} versions: {verified:,} things verified, {len(faults)} faults; a version "
        f"{statistics.median(took):.2f} s at the median, {max(took):.2f} s at most, hashing included",
        *faults,
        sep="\n",
        flush=True,
    )


def _flips(workspace: Workspace) -> None:
    draw, named = random.Random(5), 0
    found = [version.version for version in versions.versions(_MODEL, workspace.var)]
    for _ in range(FLIPS):
        version = draw.choice(found)
        what, file = draw.choice(_inputs(workspace, version))
        content = file.read_bytes()
        if not content:
            continue
        at, mode = draw.randrange(len(content)), file.stat().st_mode
        file.chmod(0o644)
        file.write_bytes(content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :])
        faults = {node.id for node in _traced(workspace, version)[0].faults}
        file.write_bytes(content)
        file.chmod(mode)
        if what not in faults:
            raise SystemExit(f"{_MODEL}/{version}: a bit of {file} ({what}) was flipped, and lineage named {faults}")
        named += 1
    print(f"{named} flipped bits, each in one thing that a version is made of: {named} named")


def _inputs(workspace: Workspace, version: str) -> list[tuple[str, Path]]:
    """Things that a version is made of, by their name in its lineage, each with a file of it."""
    chosen = versions.resolve(_MODEL, version, workspace.var)
    packed = versions.packed_folder(chosen, workspace.var) / versions.MODEL_FILES
    files = [(f"{_MODEL}/{version}", path) for path in packed.rglob("*") if path.is_file()]
    bundle = versions.evidence(chosen, "evidence.json", workspace.var)
    files += [("evidence", path) for path in bundle.parent.rglob("*") if path.is_file()] if bundle else []
    graph, cache = Graph(workspace.root), Path(workspace.root) / ".dvc/cache/files/md5"
    for node in trace(workspace, _MODEL, version).nodes:
        if node.kind == "data" and node.hash:
            own = [cache / node.hash[:2] / node.hash[2:]]
            own += [place for name in _names(own[0]) if (place := graph.object_of(node.hash, name))]
            files += [(node.id, path) for path in own if path.is_file()]
    return files


def _names(listed: Path) -> list[str]:
    if not listed.name.endswith(".dir"):
        return []
    return [entry["relpath"] for entry in json.loads(listed.read_text())]
