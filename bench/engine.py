"""The embedded engine as an index grows: building, asking, memory and disk, beside qdrant-client's local mode.

Vectors are random, in topics as texts are, and terms as frequent as words are (Zipf). Each figure comes from a process
of its own. Writes docs/images/engine.png.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import corpora
from bench.measure import seconds
from bench.standin import DIM, Vectors
from pipelines.search.engine import embedded
from pipelines.search.engine.engine import TERMS, VECTOR, Ask, Content, Mode, Point
from pipelines.search.engine.release_files import Pointers, Versions
from pipelines.search.text.terms import Sparse, weights

SIZES = (1_000, 10_000, 30_000, 100_000)
LOCAL = 10_000  # of qdrant-client's local mode, which warns above 20,000
QUESTIONS = 200
PLOT = Path("docs/images/engine.png")
P95_MS, RECALL = 5.0, 0.99  # hybrid over 10,000
_INDEX, _FIRST, _SECOND = "bench", "0" * 16, "1" * 16
_TOPICS, _SPREAD = 2_000, 1.0  # as much spread within a topic as between topics
_WORDS, _LENGTH, _ASKED = 30_000, 90, 6
_TEXT = "The river rose in the night, and by morning the lower fields were under water. " * 11


def main() -> None:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            found.append(_figures("edge", size, folder))
            if size == LOCAL:
                local = _figures("local", size, folder)
    head = ["", *(f"edge, {size:,}" for size in SIZES), f"client, local, {LOCAL:,}"]
    rows = [[name, *(_shown(each.get(name)) for each in (*found, local))] for name in found[0]]
    print(corpora.table(head, rows))
    print(corpora.load())
    at = found[SIZES.index(LOCAL)]
    for what, reached in (
        (f"hybrid over {LOCAL:,}: p95 at most {P95_MS} ms", at["hybrid p95, ms"] <= P95_MS),
        (f"recall@10 at least {RECALL}", min(each["dense recall@10"] for each in found) >= RECALL),
    ):
        print(f"{'reached' if reached else 'NOT REACHED'}: {what}")
    _plot(found)


def _figures(engine: str, size: int, folder: str) -> dict[str, float]:
    """Of one engine with so many points, built by one process and asked by another."""
    found: dict[str, float] = {}
    for step in ("build", "ask"):
        command = [sys.executable, "-m", "bench.engine", engine, step, str(size), f"{folder}/{engine}-{size}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found |= json.loads(done.stdout.splitlines()[-1])
    return found


# --- what is searched -------------------------------------------------------------------------------------------------


class Made:
    """So many points, and questions about them."""

    def __init__(self, size: int) -> None:
        draw = np.random.default_rng(7)
        self.size = size
        topics = _unit(draw.standard_normal((_TOPICS, DIM)))
        self.vectors = self._around(topics, draw, size)
        self.questions = self._around(topics, draw, QUESTIONS)
        rarity = 1 / np.arange(1, _WORDS + 1)
        share = np.cumsum(rarity / rarity.sum())
        self.words = np.searchsorted(share, draw.random((size, _LENGTH))).astype(np.int32)
        asked = np.searchsorted(share, draw.random((QUESTIONS, _ASKED)))
        self.asked = [_sparse(*np.unique(row, return_counts=True)) for row in asked]

    @staticmethod
    def _around(topics: Vectors, draw: np.random.Generator, count: int) -> Vectors:
        noise = _unit(draw.standard_normal((count, DIM)))
        return _unit(topics[draw.integers(_TOPICS, size=count)] + _SPREAD * noise)

    def ids(self, changed: int = 0) -> list[str]:
        """A changed point has another id, as a changed passage has."""
        return [str(uuid.UUID(int=row + (self.size if row < changed else 0))) for row in range(self.size)]

    def points(self, ids: list[str], wanted: set[str]) -> Iterator[list[Point]]:
        rows = [row for row, each in enumerate(ids) if each in wanted]
        for at in range(0, len(rows), 512):
            yield [self._point(ids[row], row) for row in rows[at : at + 512]]

    def _point(self, identity: str, row: int) -> Point:
        payload = {
            "document": str(row), "position": 0, "heading": "", "text": _TEXT, "source": f"{row}.txt",
            "section": "", "key": identity, "labels": [],
        }  # fmt: skip
        ids, counts = np.unique(self.words[row], return_counts=True)
        terms = _sparse(ids, weights(counts, np.full(len(counts), _LENGTH), _LENGTH))
        return Point(identity, self.vectors[row].tolist(), terms, payload)

    def content(self, changed: int = 0) -> Content:
        ids = self.ids(changed)
        return Content({"dim": DIM}, ids, lambda wanted: self.points(ids, wanted))

    def nearest(self, question: int) -> set[str]:
        """The ten nearest by arithmetic."""
        return {str(row) for row in np.argsort(-(self.vectors @ self.questions[question]))[:10]}


def _sparse(ids: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> Sparse:
    return Sparse(ids.tolist(), values.astype(float).tolist())


def _unit(rows: np.ndarray[Any, Any]) -> Vectors:
    unit: Vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


# --- one engine, in a process of its own ------------------------------------------------------------------------------


def edge_build(made: Made, folder: Path) -> dict[str, float]:
    engine, optimising = embedded.Edge(Versions(folder)), _timed_optimising()
    before = _peak_mb()
    first = seconds(lambda: engine.build(_INDEX, _FIRST, made.content()))
    optimised = sum(optimising)
    engine.point(_INDEX, Pointers(live=_FIRST))
    second = seconds(lambda: engine.build(_INDEX, _SECOND, made.content(made.size // 100)))
    return {
        "build, s": first - optimised,
        "optimise, s": optimised,
        "1 % changed, s": second,
        "memory of building, MB": _peak_mb() - before,
        "disk, MB": _blocks_mb(folder / _INDEX / _FIRST),
    }


def edge_ask(made: Made, folder: Path) -> dict[str, float]:
    before = _peak_mb()
    with embedded.Edge(Versions(folder)).reading(_INDEX, _FIRST) as release:

        def ask(mode: Mode, row: int) -> list[str]:
            question = Ask(mode, 10, None, made.questions[row].tolist(), made.asked[row])
            return [hit.payload["document"] for hit in release.search(question)]

        return _asked(made, ask, before)


def local_build(made: Made, folder: Path) -> dict[str, float]:
    from qdrant_client import QdrantClient, models

    before = _peak_mb()
    client = QdrantClient(path=str(folder))
    client.create_collection(
        _INDEX,
        vectors_config={VECTOR: models.VectorParams(size=DIM, distance=models.Distance.DOT)},
        sparse_vectors_config={TERMS: models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )

    def upsert(content: Content) -> None:
        for batch in content.points(set(content.ids)):
            points = [
                models.PointStruct(
                    id=each.id,
                    vector={
                        VECTOR: list(each.vector),
                        TERMS: models.SparseVector(indices=list(each.terms.ids), values=list(each.terms.values)),
                    },
                    payload=dict(each.payload),
                )
                for each in batch
            ]
            client.upsert(_INDEX, points)

    took = seconds(lambda: upsert(made.content()))
    client.close()
    return {"build, s": took, "memory of building, MB": _peak_mb() - before, "disk, MB": _blocks_mb(folder)}


def local_ask(made: Made, folder: Path) -> dict[str, float]:
    from qdrant_client import QdrantClient, models

    before = _peak_mb()
    client = QdrantClient(path=str(folder))

    def ask(mode: Mode, row: int) -> list[str]:
        dense, terms = made.questions[row].tolist(), made.asked[row]
        sparse = models.SparseVector(indices=list(terms.ids), values=list(terms.values))
        if mode == "hybrid":
            halves = [
                models.Prefetch(query=query, using=using, limit=100)
                for query, using in ((dense, VECTOR), (sparse, TERMS))
            ]
            fused = models.FusionQuery(fusion=models.Fusion.DBSF)
            found = client.query_points(_INDEX, prefetch=halves, query=fused, limit=10)
        else:
            query, using = (dense, VECTOR) if mode == "dense" else (sparse, TERMS)
            found = client.query_points(_INDEX, query=query, using=using, limit=10)
        return [str((each.payload or {})["document"]) for each in found.points]

    return _asked(made, ask, before)


def _asked(made: Made, ask: Callable[[Mode, int], list[str]], before: float) -> dict[str, float]:
    found: dict[str, float] = {}
    right = 0
    modes: tuple[Mode, ...] = ("dense", "sparse", "hybrid")
    for mode in modes:
        for row in range(20):  # reads what is on the disk
            ask(mode, row)
        took = []
        for row in range(QUESTIONS):
            start = time.perf_counter()
            answer = ask(mode, row)
            took.append(1000 * (time.perf_counter() - start))
            right += len(made.nearest(row) & set(answer)) if mode == "dense" else 0
        found |= {f"{mode} p{share}, ms": float(np.percentile(took, share)) for share in (50, 95)}
    return {**found, "dense recall@10": right / (10 * QUESTIONS), "memory of asking, MB": _peak_mb() - before}


def _timed_optimising() -> list[float]:
    """The seconds of every optimisation from now on."""
    took: list[float] = []
    begun = embedded._begun

    class Watched:
        def __init__(self, shard: Any) -> None:
            self._shard = shard

        def __getattr__(self, name: str) -> Any:
            return getattr(self._shard, name)

        def optimize(self) -> None:
            took.append(seconds(self._shard.optimize))

    def watched(*arguments: Any) -> tuple[Any, set[str]]:
        shard, there = begun(*arguments)
        return Watched(shard), there

    vars(embedded)["_begun"] = watched
    return took


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _blocks_mb(folder: Path) -> float:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file()) / 1e6


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"


def _plot(found: Sequence[Mapping[str, float]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name in ("build, s", "optimise, s", "1 % changed, s"):
        left.plot(SIZES, [each[name] for each in found], marker="o", label=name)
    for name in ("dense p50, ms", "dense p95, ms", "hybrid p50, ms", "hybrid p95, ms"):
        right.plot(SIZES, [each[name] for each in found], marker="o", label=name)
    for axes in (left, right):
        axes.set(xscale="log", xlabel="passages")
        axes.legend()
        axes.grid(alpha=0.3)
    left.set(yscale="log", title="building")
    right.set(ylim=0, title="a question")
    PLOT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PLOT, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    engine, step, size, folder = sys.argv[1:]
    steps = {
        ("edge", "build"): edge_build, ("edge", "ask"): edge_ask,
        ("local", "build"): local_build, ("local", "ask"): local_ask,
    }  # fmt: skip
    print(json.dumps(steps[engine, step](Made(int(size)), Path(folder))))
