"""An index with a small embedder whose stages run in a process of their own, which may be killed at any time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.workspace import Job, Workspace
from pipelines.bases import identify
from pipelines.driver import FORCED
from pipelines.search.engine.choice import choose
from pipelines.search.text.passages import embedded
from pipelines.search.vectors.embedder import Embedder
from tests import small_index, small_pairs

CHUNK = {"tokens": 24, "overlap": 0}


@dataclass
class World:
    """documents: id -> text. sections: of the settings. base: the embedder's folder, shared by copies."""

    root: Path
    base: Path
    documents: dict[str, str] = field(default_factory=dict)
    sections: dict[str, Any] = field(default_factory=lambda: {"chunk": dict(CHUNK), "search": dict(small_index.HYBRID)})

    @property
    def job(self) -> Job:
        return Workspace(self.root).job("index", "small")

    def sync(self, *, kill_after_s: float | None = None) -> float:
        """Bring the index up to date; returns the seconds it took. Without kill_after_s it has to end well."""
        self.prepare()
        started = time.monotonic()
        child = os.fork()
        if not child:
            _stages(self.root, kill_after_s)
        _, status = os.waitpid(child, 0)
        if kill_after_s is None:
            assert os.WIFEXITED(status), f"killed by {os.WTERMSIG(status)}"
            assert os.WEXITSTATUS(status) == 0, (self.root / "failed.txt").read_text()
        return time.monotonic() - started

    def prepare(self) -> None:
        job, reference = small_index.make(self.root, self.documents), "./base"
        if not (self.root / "base").exists():
            shutil.copytree(self.base, self.root / "base")
        identity = identify(reference, self.root).model_dump(mode="json")
        small_index.settings(job, embed={"model": reference}, bases={reference: identity}, **self.sections)

    def embedded(self) -> set[str]:
        """The texts that the last sync computed a vector for."""
        file = self.root / "embedded.jsonl"
        return {json.loads(line) for line in file.read_text().splitlines()} if file.exists() else set()

    def texts(self) -> set[str]:
        """What the passages say to an embedder."""
        rows = pq.read_table(self.root / "data/indexes/small/chunks/chunks.parquet").to_pylist()
        return {embedded(row["heading"], row["text"]) for row in rows}

    def held(self) -> Mapping[str, Any]:
        """Every point of the live release, by its id, as another process reads it."""
        read, write = os.pipe()
        child = os.fork()
        if not child:
            os.close(read)
            with os.fdopen(write, "w") as pipe, choose(self.job.workspace).reading("small") as release:
                said = {
                    each.id: [dict(each.payload), list(each.vector), list(each.terms.ids), list(each.terms.values)]
                    for each in release.points()
                }
                json.dump(said, pipe)
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            found: Mapping[str, Any] = json.load(pipe)
        os.waitpid(child, 0)
        return found

    def rebuilt(self, root: Path) -> Mapping[str, Any]:
        """What an index made from nothing holds."""
        other = World(root, self.base, dict(self.documents), dict(self.sections))
        other.sync()
        found = other.held()
        shutil.rmtree(root)
        return found


def make_world(root: Path) -> World:
    """An empty index."""
    base = root / "embedder"
    small_pairs.make_base(base)
    return World(root / "w", base)


def _stages(root: Path, kill_after_s: float | None) -> None:
    """chunk, embed, publish in this forked process, which ends here."""
    log = (root / "embedded.jsonl").open("w", encoding="utf-8")
    whole = Embedder.encode_batches

    def watched(self: Embedder, texts: Any) -> Any:
        log.writelines(json.dumps(text) + "\n" for text in texts)
        log.flush()
        return whole(self, texts)

    Embedder.encode_batches = watched  # type: ignore[method-assign]
    os.environ[FORCED] = "publish"  # histories delete most of a small index at once
    sys.stderr = (root / "err.txt").open("w", encoding="utf-8")
    if kill_after_s is not None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process at once, like SIGKILL: nothing of ours runs
        signal.setitimer(signal.ITIMER_REAL, max(kill_after_s, 1e-4))
    try:
        small_index.build(Workspace(root).job("index", "small"))
    except BaseException:  # noqa: BLE001
        (root / "failed.txt").write_text(traceback.format_exc(), encoding="utf-8")
        os._exit(1)
    os._exit(0)
