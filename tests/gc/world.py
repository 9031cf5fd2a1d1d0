"""A real git, DVC and MLflow workspace whose trainings copy a model, and whose index copies vectors."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.atomic_files import write_json
from core.errors import BadRequest
from core.manifest import write_manifest
from core.weights.base_store import seal
from core.workspace import Job
from flows.cleanup.gc import gc
from flows.graph.graph import Graph
from pipelines.evidence.provenance import lock_entries
from pipelines.search.engine.choice import choose
from pipelines.search.engine.engine import Ask
from pipelines.search.engine.releases import build, read_truth, receipt, release
from pipelines.search.text.term_table import write_terms
from pipelines.search.text.terms import Analyser
from pipelines.search.vectors.vector_table import Table, as_keys, write
from registry.store import versions
from registry.store.connection import exclusive, prepare_embedded
from registry.store.versions import Version
from registry.version import register_version
from tests.conftest import ROOT
from tests.small_model import candidate, make_small_adapters
from tests.tiny_graph import TinyGraph
from tests.warm import warm

MODEL = "films"  # as the recipe `a` registers it
DIM = 4
BASES = 3  # model N adds to base N % BASES
_GRAPH = """\
stages:
  train:
    foreach: ${recipes}
    do:
      cmd: python step.py ${item.watch} model data/models/${key}/model data/models/${key}/base
      deps: ["${item.watch}"]
      outs:
        - "data/models/${key}/model": {persist: true}
        - "data/models/${key}/base": {persist: true}
  load:
    foreach: ${indexes}
    do:
      cmd: python step.py ${item.watch} index data/indexes/${key}/chunks data/indexes/${key}/vectors
      deps: ["${item.watch}"]
      outs:
        - "data/indexes/${key}/chunks": {persist: true}
        - "data/indexes/${key}/vectors": {persist: true}
"""
_STEP = """\
import pathlib, shutil, sys
rows, kind, *outs = sys.argv[1:]
for out in map(pathlib.Path, outs):
    shutil.rmtree(out, ignore_errors=True)
    made = pathlib.Path("../made", f"{kind}-{pathlib.Path(rows).read_text()}")
    shutil.copytree(made / out.name, out)
"""


@dataclass(frozen=True)
class World(TinyGraph):
    """The recipe `a`, which registers MODEL, and the index `i`. made: which content -> number of its version."""

    made: dict[int, str] = field(default_factory=dict)

    @property
    def var(self) -> Path:
        return self.workspace.var

    @property
    def index(self) -> Job:
        return self.workspace.job("index", "i")

    def train(self, which: int, *, passed: bool = True, bases: Mapping[str, Any] | None = None) -> Version:
        """Train on other rows, from registered bases if any, and register what came out."""
        self.write("rows-a.txt", str(which))
        Graph(self.root).reproduce("train@a")
        return self.register(which, passed=passed, bases=bases)

    def register(self, which: int, *, passed: bool = True, bases: Mapping[str, Any] | None = None) -> Version:
        """Register what stands in data/models/a/model, as the stage would."""
        job, evidence = self.workspace.job("recipe", "a"), self.root.parent / "evidence"
        write_json(evidence / "dvc-lock.json", lock_entries(job))
        write_json(evidence / "settings.json", {"bases": dict(bases or {}), "data": {"source": "rows-a.txt"}})
        subject = candidate(job.folder / "model", evidence, passed=passed, promote=False)
        with exclusive(self.var):
            done = register_version.register(replace(subject, name=MODEL, recipe="a"), self.var).version
        self.made[which] = done.version
        return done

    def publish(self, which: int) -> None:
        """Load other documents and make them the index's live version."""
        self.write("rows-i.txt", str(which))
        Graph(self.root).reproduce("load@i")
        search = {"mode": "dense", "limit": 5, "rerank": None}
        write_json(self.index.folder / "settings.json", {
            "embed": {"model": "none"}, "bases": {"none": {"sha256": "0", "version": None}}, "search": search,
        })  # fmt: skip
        engine, truth = choose(self.workspace), read_truth(self.index)
        build(truth, engine)
        release(truth, engine)
        write_json(self.index.folder / "published.json", {**receipt(truth, engine), "published": True})

    def answer(self) -> str:
        """What the index says to a question."""
        with choose(self.workspace).reading("i") as release:
            hits = release.search(Ask("dense", 1, None, [1.0, 0.0, 0.0, 0.0]))
        return str(hits[0].payload["text"])

    def commit(self) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "more")


def make_parts(folder: Path, count: int) -> None:
    """Models with their bases, and indexes, of different content: folder/model-N and folder/index-N."""
    first = make_small_adapters(folder / "first", method="transfer").parent
    for which in range(count):
        made = folder / f"model-{which}"
        for part, note in (("base", f"base {which % BASES}"), ("model", which)):
            shutil.copytree(first / part, made / part)
            (made / part / "note.txt").write_text(f"{note}\n" * 1000)
        seal(made / "base", made / "model", reference="./start", sha256="5" * 64)
        write_manifest(made / "model", {})
        _make_index(folder / f"index-{which}", which)


def make_world(root: Path, parts: Path) -> World:
    """root: a folder that is not there yet; parts: of make_parts."""
    (root / "w").mkdir(parents=True)
    (root / "made").symlink_to(parts)
    world = World(root / "w")
    prepare_embedded(world.var)
    live = {"recipes": {"a": {"task": "none", "watch": "rows-a.txt"}}, "indexes": {"i": {"watch": "rows-i.txt"}}}
    world.write("params.yaml", json.dumps(live))
    world.write("dvc.yaml", _GRAPH)
    world.write("step.py", _STEP)
    world.write(".gitignore", "/var/\n/data/\n__pycache__/\n")
    world.write(".dvc/config", "[core]\n    analytics = false\n    autostage = false\n")
    world.write(".dvc/.gitignore", "/config.local\n/tmp\n/cache\n")
    world.write("rows-a.txt", "0")
    world.write("rows-i.txt", "0")
    world.git("init", "-q", "-b", "main")
    world.git("config", "user.name", "t")
    world.git("config", "user.email", "t@example.org")
    world.commit()
    return world


def gc_process(root: Path, *, before: str = "") -> list[str]:
    """The command line of a gc that spares nothing, in any workspace; before: code that runs first."""
    code = (
        "import sys; from pathlib import Path; import flows.cleanup.gc as subject\n"
        "from core.workspace import Workspace\n"
        f"{before}\n"
        f"found = subject.gc(Workspace(Path({str(root)!r})), dry_run=False, spared_s=0)\n"
        "print(len([thing for thing in found.things if thing.free]))"
    )
    return [sys.executable, "-c", code]


def _make_index(folder: Path, which: int) -> None:
    row: dict[str, Any] = {
        "chunk_id": f"c{which}", "key": f"k{which}", "document": "d/1.txt", "position": 0, "heading": "",
        "text": f"text {which}", "source": "s",
    }  # fmt: skip
    (folder / "chunks").mkdir(parents=True)
    (folder / "vectors").mkdir()
    pq.write_table(pa.Table.from_pylist([row]), folder / "chunks" / "chunks.parquet")
    write_manifest(folder / "chunks", {"chunks": 1, "documents": 1})
    vector = np.eye(DIM, dtype=np.float32)[:1]
    write(folder / "vectors" / "vectors.parquet", Table(as_keys([f"k{which}"]), vector))
    terms = write_terms(folder / "vectors", [f"k{which}"], lambda _: {f"k{which}": f"text {which}"}, folder, Analyser())
    write_manifest(folder / "vectors", {"dim": DIM, "embedder": {"weights": "none"}, "terms": terms})


DAY_S = 86400.0


SLOWLY = (
    "import time; free = subject._free\n"
    "subject._free = lambda *a: (print('at it', flush=True), time.sleep(3), free(*a))"
)


def free(world: TinyGraph, **about: float) -> list[str]:
    """Free at once; the names of what went."""
    found = gc(world.workspace, dry_run=False, spared_s=about.get("spared_s", 0))
    return [thing.name for thing in found.things if thing.free]


def hashes(world: TinyGraph, *besides: str) -> dict[str, int]:
    """Every file, with its content's hash; besides: parts of paths that do not count."""
    return {
        path.relative_to(world.root).as_posix(): hash(path.read_bytes())
        for path in world.root.rglob("*")
        if path.is_file() and not any(part in path.as_posix() for part in besides)
    }


def loads(world: World, version: str) -> bool:
    found = versions.resolve(MODEL, version, world.var)
    if versions.freed(found) is None:
        return versions.packed_folder(found, world.var).is_dir()
    with pytest.raises(BadRequest, match=f"the files of {MODEL}/{version} were freed by `headrace gc` on 20"):
        versions.packed_folder(found, world.var)
    return False


def cached(world: TinyGraph, content: str) -> Path:
    """Where DVC's cache keeps a file of this content."""
    oid = hashlib.md5(content.encode()).hexdigest()
    return world.root / ".dvc" / "cache" / "files" / "md5" / oid[:2] / oid[2:]


def waiting_gc(tiny: TinyGraph) -> subprocess.Popen[str]:
    return subprocess.Popen(
        gc_process(tiny.root), cwd=ROOT, env=warm(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def lay_about(world: TinyGraph) -> dict[str, Path]:
    """One of everything that work leaves behind; everything is old."""
    var = world.var if isinstance(world, World) else world.workspace.var
    made = {
        "live": var / "checkpoints/a/0123456789abcdef/step-00000010/state.json",
        "retired": var / "checkpoints/gone/0123456789abcdef/step-00000010/state.json",
        "parts": var / "vectors/gone/0123/part.parquet",
        "features": var / "features/0123.safetensors",
        "rejected": var / "rejected/recipe-gone/quarantine.parquet",
        "log": var / "logs/stages/train@gone.log",
        "live log": var / "logs/stages/train@a.log",
        "download": var / "mlflow/downloads/m-0123/MLmodel",
        "new": world.root / "data/models/a/.model.new/half",
        "old": var / "checkpoints/a/0123456789abcdef/.step-00000010.old/state.json",
        "only": var / "checkpoints/a/0123456789abcdef/.step-00000020.old/state.json",
        "beside": var / "features/.4567.safetensors.4711",
    }
    for path in made.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * 5000)
        for each in (path, *list(path.parents)[:3]):
            os.utime(each, (1, 1))
    return made
