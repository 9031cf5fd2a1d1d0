"""The engines: one suite over qdrant-edge, qdrant-client's local mode (as a cross-check), and a server if there is one.

A server is asked when QDRANT_URL names one (conftest.py keeps it as TEST_QDRANT_URL); no package carries one.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest

from core.errors import BadRequest, Outage
from pipelines.search.ask.query import MODES
from pipelines.search.engine import embedded
from pipelines.search.engine.embedded import Edge
from pipelines.search.engine.engine import INDEXED, Ask, Content, Missing, Point
from pipelines.search.engine.qdrant_server import Server, connect
from pipelines.search.engine.release_files import Pointers, Versions
from pipelines.search.text.terms import Sparse

ONE, TWO, THREE = "1" * 16, "2" * 16, "3" * 16
DIM = 8


def points(count: Any, *, seed: Any = 0, section: Any = "a") -> Any:
    random = np.random.default_rng(seed)
    matrix = random.normal(size=(count, DIM)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return [
        Point(
            str(uuid.UUID(int=seed * 1000 + number)),
            vector.tolist(),
            Sparse([number % 7, 100 + number % 3], [1.0, 0.5]),
            {
                "document": f"{number}.txt", "section": section if number % 2 else "other", "position": number,
                "labels": LABELS[number % len(LABELS)],
            },
        )
        for number, vector in enumerate(matrix)
    ]  # fmt: skip


LABELS: Any = [[], ["hr"], ["hr", "board"], ["board"], []]


def content(stored: Any, **facts: Any) -> Any:
    def wanted(ids: Any) -> Any:
        found = [each for each in stored if each.id in ids]
        return iter([found[:25], found[25:]])

    return Content({"dim": DIM, **facts}, [each.id for each in stored], wanted)


def build(engine: Any, version: Any, stored: Any, **facts: Any) -> Any:
    return engine.build(INDEX, version, content(stored, **facts))


def activate(engine: Any, version: Any, index: Any = "conformance") -> None:
    engine.point(index, engine.pointers(index).released(version))


def search(engine: Any, vector: Any, limit: Any, filters: Any = None, *, access: Any = None, **ask: Any) -> Any:
    with engine.reading(INDEX) as release:
        return release.search(Ask("dense", limit, access, vector, filters=filters or {}, **ask))


@pytest.fixture(params=["edge", "local", "server"])
def engine(request: Any, tmp_path: Any) -> Any:
    if request.param == "edge":
        yield Edge(Versions(tmp_path))
    elif request.param == "local":
        from qdrant_client import QdrantClient

        yield Server(QdrantClient(":memory:"), ":memory:")
    else:
        url = os.environ.get("TEST_QDRANT_URL")
        if not url:
            pytest.skip("these did not run against a Qdrant server: QDRANT_URL is not set")
        found = connect(url, os.environ.get("QDRANT_API_KEY"))
        yield found
        for collection in found.client.get_collections().collections:
            if collection.name.startswith("conformance-"):
                found.client.delete_collection(collection.name)


INDEX = "conformance"


def test_a_version_is_searched_when_it_is_live(engine: Any) -> None:
    assert engine.pointers(INDEX).live is None
    with pytest.raises(Missing, match=INDEX):
        search(engine, [1.0] + [0.0] * (DIM - 1), 3, {})
    assert build(engine, ONE, points(40)) == 40
    assert engine.pointers(INDEX).live is None
    activate(engine, ONE)
    assert engine.pointers(INDEX).live == ONE
    assert engine.count(INDEX, ONE) == 40
    assert engine.count(INDEX, TWO) is None


def test_search_is_exact_and_best_first(engine: Any) -> None:
    stored = points(200)
    build(engine, ONE, stored)
    activate(engine, ONE)
    question = np.asarray(points(1, seed=9)[0].vector)
    scores = np.asarray([point.vector for point in stored]) @ question
    hits = search(engine, question.tolist(), 7, {})
    assert [hit.payload["position"] for hit in hits] == np.argsort(-scores)[:7].tolist()
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1][:7], atol=1e-6)


def test_filters_must_all_hold(engine: Any) -> None:
    build(engine, ONE, points(40))
    activate(engine, ONE)
    question = list(points(1, seed=9)[0].vector)
    found = search(engine, question, 40, {"section": "a"})
    assert sorted(hit.payload["position"] for hit in found) == list(range(1, 40, 2))
    assert [hit.payload["position"] for hit in search(engine, question, 40, {"section": "a", "document": "3.txt"})] == [
        3
    ]
    assert search(engine, question, 40, {"section": "a", "document": "4.txt"}) == []


def test_the_next_version_takes_over_and_the_old_one_goes(engine: Any) -> None:
    build(engine, ONE, points(40))
    activate(engine, ONE)
    build(engine, TWO, points(10, seed=1))
    question = list(points(1, seed=9)[0].vector)
    assert len(search(engine, question, 100, {})) == 40
    activate(engine, TWO)
    assert len(search(engine, question, 100, {})) == 10
    assert engine.prune(INDEX) == []  # the one before is kept to go back to
    build(engine, THREE, points(5, seed=2))
    activate(engine, THREE)
    assert engine.prune(INDEX) == [ONE]
    assert engine.count(INDEX, ONE) is None
    assert engine.pointers(INDEX) == Pointers(live=THREE, previous=TWO)
    assert engine.prune(INDEX) == []


def test_building_again_changes_nothing(engine: Any) -> None:
    for _ in range(2):
        assert build(engine, ONE, points(40)) == 40
        activate(engine, ONE)
    assert engine.prune(INDEX) == []


def test_indexes_whose_names_begin_alike_are_apart(engine: Any) -> None:
    for name in (INDEX, f"{INDEX}-more"):
        engine.build(name, ONE, content(points(10)))
        activate(engine, ONE, name)
    engine.point(INDEX, Pointers())
    assert engine.prune(INDEX) == [ONE]
    assert engine.count(f"{INDEX}-more", ONE) == 10


def test_a_server_s_interrupted_build_is_completed_and_its_strangers_go() -> None:
    from qdrant_client import QdrantClient

    engine = Server(QdrantClient(":memory:"), ":memory:")
    build(engine, ONE, [*points(30), *points(5, seed=3)])
    assert build(engine, ONE, points(40)) == 40


def test_a_collection_whose_reply_was_lost_gets_its_payload_indexes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try made the collection and heard nothing; the second finds it."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    vectors = {"dense": models.VectorParams(size=DIM, distance=models.Distance.DOT)}
    terms = {"bm25": models.SparseVectorParams(modifier=models.Modifier.IDF)}
    client.create_collection(f"{INDEX}-{ONE}", vectors_config=vectors, sparse_vectors_config=terms)
    asked: list[str] = []
    monkeypatch.setattr(client, "create_payload_index", lambda name, key, *_, **__: asked.append(key))
    assert Server(client, ":memory:").build(INDEX, ONE, content(points(3))) == 3
    assert asked == list(INDEXED)


def test_a_failed_build_leaves_nothing(tmp_path: Any) -> None:
    engine = Edge(Versions(tmp_path))

    def torn(ids: Any) -> Any:
        yield points(10)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        engine.build(INDEX, ONE, Content({"dim": DIM}, [each.id for each in points(20)], torn))
    assert engine.count(INDEX, ONE) is None
    assert [path.name for path in (tmp_path / INDEX).iterdir() if path.is_dir()] == []


def test_a_version_that_another_engine_counted_is_counted_again(tmp_path: Any, monkeypatch: Any) -> None:
    engine = Edge(Versions(tmp_path))
    build(engine, ONE, points(40))
    loaded: list[Any] = []
    monkeypatch.setattr(embedded, "_load", lambda folder: loaded.append(folder))
    assert engine.count(INDEX, ONE) == 40 and not loaded  # every file is as it was when it was counted
    monkeypatch.setattr(embedded, "_engine", lambda: "0.0")
    assert engine.count(INDEX, ONE) is None and loaded


@pytest.mark.parametrize("harm", ["gone", "truncated", "empty", "a flipped bit", "no record"])
def test_damage_is_seen_and_built_again(tmp_path: Any, harm: Any) -> None:
    engine = Edge(Versions(tmp_path))
    build(engine, ONE, points(40))
    activate(engine, ONE)
    folder = tmp_path / INDEX / ONE
    victim = folder / "whole.json" if harm == "no record" else next(folder.rglob("segment.json"))
    if harm == "truncated":
        victim.write_bytes(victim.read_bytes()[:10])
    elif harm == "empty":
        victim.write_bytes(b" " * victim.stat().st_size)  # the same size
    elif harm == "a flipped bit":
        victim = max(folder.rglob("*"), key=lambda path: path.stat().st_size * path.is_file())  # the vectors
        content = bytearray(victim.read_bytes())
        content[0] ^= 1
        victim.write_bytes(content)
    else:
        victim.unlink()
    assert engine.count(INDEX, ONE) is None
    with pytest.raises(Missing, match="no whole version"):
        search(engine, [1.0] * DIM, 1, {})
    assert build(engine, ONE, points(40)) == 40
    assert len(search(engine, [1.0] * DIM, 100, {})) == 40


def test_a_version_that_is_read_is_not_removed(tmp_path: Any) -> None:
    versions = Versions(tmp_path)
    engine = Edge(versions)
    build(engine, ONE, points(10))
    activate(engine, ONE)
    build(engine, TWO, points(10))
    with versions.reading(INDEX) as folder:
        engine.point(INDEX, Pointers(live=TWO))
        assert engine.prune(INDEX) == []
        assert folder is not None
        assert folder.is_dir()
    assert engine.prune(INDEX) == [ONE]


READER = """
import sys
import time
from pathlib import Path
from pipelines.search.engine.embedded import Edge
from pipelines.search.engine.engine import Ask
from pipelines.search.engine.release_files import Versions
engine = Edge(Versions(Path(sys.argv[1])))
print("ready", flush=True)
seen, until = set(), time.monotonic() + 120  # its test may be killed
while Path(sys.argv[2]).exists() and time.monotonic() < until:
    with engine.reading("conformance") as release:
        seen.add(len(release.search(Ask("dense", 1000, None, [1.0] * 8))))
print(sorted(seen))
"""


def test_many_processes_search_while_versions_come_and_go(tmp_path: Any) -> None:
    engine = Edge(Versions(tmp_path / "qdrant"))
    build(engine, ONE, points(10))
    activate(engine, ONE)
    running = tmp_path / "running"
    running.touch()
    command = [sys.executable, "-c", READER, str(tmp_path / "qdrant"), str(running)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
    try:
        for turn in range(12):
            version, size = (TWO, 20) if turn % 2 == 0 else (ONE, 10)
            assert build(engine, version, points(size)) == size
            engine.point(INDEX, Pointers(live=version))
            engine.prune(INDEX)
    finally:
        running.unlink()
    for reader in readers:
        out, err = reader.communicate(timeout=60)
        assert (reader.returncode, err) == (0, "")
        assert out.strip() in ("[10, 20]", "[10]", "[20]")  # never a part of a version
    engine.prune(INDEX)
    assert [path.name for path in (tmp_path / "qdrant" / INDEX).iterdir() if path.is_dir()] == [ONE]


def test_a_server_that_is_away() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        with pytest.raises(Outage, match=f"QDRANT_URL=http://127.0.0.1:{port} does not answer"):
            connect(f"http://user:secret@127.0.0.1:{port}", None).pointers(INDEX)


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [(401, BadRequest, "refuses the key in QDRANT_API_KEY"), (503, Outage, "answered 503")],
)
def test_a_server_that_refuses(status: Any, error: Any, message: Any) -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(error, match=message):
            connect(f"http://127.0.0.1:{server.server_port}", "wrong").pointers(INDEX)
    finally:
        server.shutdown()
        server.server_close()


def test_what_is_no_url() -> None:
    with pytest.raises(BadRequest, match=r"QDRANT_URL is 'localhost:6333'. Allowed: http://HOST:PORT"):
        connect("localhost:6333", None)


def test_a_version_says_what_it_was_made_with(engine: Any) -> None:
    build(engine, ONE, points(3), embedder={"reference": "package://x", "identity": {"sha256": "ab"}})
    activate(engine, ONE)
    with engine.reading(INDEX) as release:
        assert (release.version, release.facts["embedder"]["identity"]) == (ONE, {"sha256": "ab"})


def test_going_back_and_forth(engine: Any) -> None:
    for version, size in ((ONE, 10), (TWO, 20)):
        build(engine, version, points(size))
        activate(engine, version)
    for live, size in ((ONE, 10), (TWO, 20)):
        engine.point(INDEX, engine.pointers(INDEX).rolled_back())
        assert engine.pointers(INDEX).live == live
        assert len(search(engine, [1.0] * DIM, 100)) == size
        assert engine.prune(INDEX) == []
    with pytest.raises(BadRequest, match="no version before"):
        Pointers(live=ONE).rolled_back()


def test_the_next_version_is_exactly_what_it_should_be(engine: Any) -> None:
    """Built from the one before, where most of it stays: what went is gone, what came is there."""
    before, after = points(60), [*points(60)[5:], *points(4, seed=5)]
    build(engine, ONE, before)
    activate(engine, ONE)
    assert build(engine, TWO, after) == len(after)
    activate(engine, TWO)
    with engine.reading(INDEX) as release:
        held = {each.id: each for each in release.points()}
    assert held.keys() == {each.id for each in after}
    for each in after:
        found = held[each.id]
        assert found.payload == each.payload
        np.testing.assert_allclose(found.vector, each.vector, atol=1e-6)
        assert (list(found.terms.ids), list(found.terms.values)) == (list(each.terms.ids), list(each.terms.values))


def test_a_caller_sees_what_the_labels_allow(engine: Any) -> None:
    build(engine, ONE, points(50))
    activate(engine, ONE)
    callers = [frozenset(), frozenset({"hr"}), frozenset({"board", "other"})]
    for mode, access in product(MODES, callers):
        ask = Ask(mode, 50, access, [1.0] * DIM, Sparse([0, 1, 2, 3, 4, 5, 6], [1.0] * 7))
        with engine.reading(INDEX) as release:
            found = {hit.payload["position"] for hit in release.search(ask)}
        allowed = {n for n in range(50) if not LABELS[n % 5] or access & set(LABELS[n % 5])}
        assert found == allowed, (mode, access)


def test_scores_say_nothing_about_passages_that_the_caller_may_not_see(engine: Any) -> None:
    """How rare a term is, is counted over what the caller may see: hidden passages must not move a score."""
    if isinstance(engine, Server):
        pytest.skip("qdrant-client's local mode counts rare terms over everything; a server (1.16+) does not")
    stored = points(50)
    ask = Ask("sparse", 50, frozenset(), terms=Sparse([0, 101], [1.0, 2.0]))

    def scores(version: Any, held: Any) -> Any:
        build(engine, version, held)
        activate(engine, version)
        with engine.reading(INDEX) as release:
            return sorted((hit.payload["position"], hit.score) for hit in release.search(ask))

    assert scores(ONE, stored) == scores(TWO, [each for each in stored if not each.payload["labels"]])


@pytest.mark.parametrize("fusion", ["dbsf", "rrf"])
def test_hybrid_finds_what_either_half_finds(engine: Any, fusion: Any) -> None:
    stored = points(40)
    build(engine, ONE, stored)
    activate(engine, ONE)
    vector, terms = stored[11].vector, Sparse([3, 101], [1.0, 1.0])
    with engine.reading(INDEX) as release:
        best = release.search(Ask("hybrid", 40, None, vector, terms, fusion=fusion))
        dense = release.search(Ask("dense", 40, None, vector))
        sparse = release.search(Ask("sparse", 40, None, terms=terms))
    assert dense[0].payload["position"] == 11
    assert {hit.payload["position"] for hit in best} == {hit.payload["position"] for hit in [*dense, *sparse]}
    assert all(a.score >= b.score for a, b in pairwise(best))


def test_a_copy_for_judging_leaves_the_version_alone(engine: Any, tmp_path: Any) -> None:
    stored = points(20)
    build(engine, ONE, stored)
    activate(engine, ONE)
    new = points(2, seed=8)
    with engine.reading(INDEX) as release, release.changed({stored[0].id}, new, tmp_path / "scratch") as other:
        assert {each.id for each in other.points()} == {each.id for each in [*stored[1:], *new]}
        assert {each.id for each in release.points()} == {each.id for each in stored}
    assert not (tmp_path / "scratch").exists()


def test_pointers_that_many_move_at_once(tmp_path: Any) -> None:
    """Two that built a lost cache wrote one temporary file, and the later one found it gone."""
    versions = Versions(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        moved = [pool.submit(versions.point, "small", Pointers(live="0" * 15 + f"{at % 2}")) for at in range(400)]
    assert [each.exception() for each in moved if each.exception()] == []
    assert versions.live("small") in ("0" * 16, "0" * 15 + "1")
