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
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import numpy as np
import pytest

from pipelines.errors import BadRequest, Outage
from pipelines.search.engine import KEYWORDS, Edge, Missing, Point, Server, connect
from pipelines.search.versions import Versions

ONE, TWO = "1" * 16, "2" * 16
DIM = 8


def points(count: Any, *, seed: Any = 0, section: Any = "a") -> Any:
    matrix = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return [
        Point(
            str(uuid.UUID(int=seed * 1000 + number)),
            vector.tolist(),
            {"document": f"{number}.txt", "section": section if number % 2 else "other", "position": number},
        )
        for number, vector in enumerate(matrix)
    ]


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
    assert engine.live(INDEX) is None
    with pytest.raises(Missing, match=INDEX):
        engine.search(INDEX, [1.0] + [0.0] * (DIM - 1), 3, {})
    assert engine.build(INDEX, ONE, DIM, [points(40)[:25], points(40)[25:]]) == 40
    assert engine.live(INDEX) is None
    engine.activate(INDEX, ONE)
    assert engine.live(INDEX) == ONE
    assert engine.count(INDEX, ONE) == 40
    assert engine.count(INDEX, TWO) is None


def test_search_is_exact_and_best_first(engine: Any) -> None:
    stored = points(200)
    engine.build(INDEX, ONE, DIM, [stored])
    engine.activate(INDEX, ONE)
    question = np.asarray(points(1, seed=9)[0].vector)
    scores = np.asarray([point.vector for point in stored]) @ question
    hits = engine.search(INDEX, question.tolist(), 7, {})
    assert [hit.payload["position"] for hit in hits] == np.argsort(-scores)[:7].tolist()
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(scores)[::-1][:7], atol=1e-6)


def test_filters_must_all_hold(engine: Any) -> None:
    engine.build(INDEX, ONE, DIM, [points(40)])
    engine.activate(INDEX, ONE)
    question = list(points(1, seed=9)[0].vector)
    found = engine.search(INDEX, question, 40, {"section": "a"})
    assert sorted(hit.payload["position"] for hit in found) == list(range(1, 40, 2))
    assert [
        hit.payload["position"] for hit in engine.search(INDEX, question, 40, {"section": "a", "document": "3.txt"})
    ] == [3]
    assert engine.search(INDEX, question, 40, {"section": "a", "document": "4.txt"}) == []


def test_the_next_version_takes_over_and_the_old_one_goes(engine: Any) -> None:
    engine.build(INDEX, ONE, DIM, [points(40)])
    engine.activate(INDEX, ONE)
    engine.build(INDEX, TWO, DIM, [points(10, seed=1)])
    question = list(points(1, seed=9)[0].vector)
    assert len(engine.search(INDEX, question, 100, {})) == 40
    engine.activate(INDEX, TWO)
    assert len(engine.search(INDEX, question, 100, {})) == 10
    assert engine.prune(INDEX) == [ONE]
    assert engine.count(INDEX, ONE) is None
    assert engine.prune(INDEX) == []


def test_building_again_changes_nothing(engine: Any) -> None:
    for _ in range(2):
        assert engine.build(INDEX, ONE, DIM, [points(40)]) == 40
        engine.activate(INDEX, ONE)
    assert engine.prune(INDEX) == []


def test_indexes_whose_names_begin_alike_are_apart(engine: Any) -> None:
    for name in (INDEX, f"{INDEX}-more"):
        engine.build(name, ONE, DIM, [points(10)])
        engine.activate(name, ONE)
    engine.build(INDEX, TWO, DIM, [points(10)])
    engine.activate(INDEX, TWO)
    assert engine.prune(INDEX) == [ONE]
    assert engine.count(f"{INDEX}-more", ONE) == 10


def test_a_server_s_interrupted_build_is_completed_and_its_strangers_go() -> None:
    from qdrant_client import QdrantClient

    engine = Server(QdrantClient(":memory:"), ":memory:")
    engine.build(INDEX, ONE, DIM, [points(30), points(5, seed=3)])
    assert engine.build(INDEX, ONE, DIM, [points(40)]) == 40


def test_a_collection_whose_reply_was_lost_gets_its_payload_indexes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try made the collection and heard nothing; the second finds it."""
    from qdrant_client import QdrantClient, models

    client = QdrantClient(":memory:")
    vectors = {"dense": models.VectorParams(size=DIM, distance=models.Distance.DOT)}
    client.create_collection(f"{INDEX}-{ONE}", vectors_config=vectors)
    asked: list[str] = []
    monkeypatch.setattr(client, "create_payload_index", lambda name, key, *_, **__: asked.append(key))
    assert Server(client, ":memory:").build(INDEX, ONE, DIM, [points(3)]) == 3
    assert asked == list(KEYWORDS)


def test_a_failed_build_leaves_nothing(tmp_path: Any) -> None:
    engine = Edge(Versions(tmp_path))

    def torn() -> Any:
        yield points(10)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        engine.build(INDEX, ONE, DIM, torn())
    assert engine.count(INDEX, ONE) is None
    assert [path.name for path in (tmp_path / INDEX).iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("harm", ["gone", "truncated", "empty", "a flipped bit", "no record"])
def test_damage_is_seen_and_built_again(tmp_path: Any, harm: Any) -> None:
    engine = Edge(Versions(tmp_path))
    engine.build(INDEX, ONE, DIM, [points(40)])
    engine.activate(INDEX, ONE)
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
        engine.search(INDEX, [1.0] * DIM, 1, {})
    assert engine.build(INDEX, ONE, DIM, [points(40)]) == 40
    assert len(engine.search(INDEX, [1.0] * DIM, 100, {})) == 40


def test_a_version_that_is_read_is_not_removed(tmp_path: Any) -> None:
    versions = Versions(tmp_path)
    engine = Edge(versions)
    engine.build(INDEX, ONE, DIM, [points(10)])
    engine.activate(INDEX, ONE)
    engine.build(INDEX, TWO, DIM, [points(10)])
    with versions.reading(INDEX) as folder:
        engine.activate(INDEX, TWO)
        assert engine.prune(INDEX) == []
        assert folder is not None
        assert folder.is_dir()
    assert engine.prune(INDEX) == [ONE]


READER = """
import sys
import time
from pathlib import Path
from pipelines.search.engine import Edge
from pipelines.search.versions import Versions
engine = Edge(Versions(Path(sys.argv[1])))
print("ready", flush=True)
seen, until = set(), time.monotonic() + 120  # its test may be killed
while Path(sys.argv[2]).exists() and time.monotonic() < until:
    seen.add(len(engine.search("conformance", [1.0] * 8, 1000, {})))
print(sorted(seen))
"""


def test_many_processes_search_while_versions_come_and_go(tmp_path: Any) -> None:
    engine = Edge(Versions(tmp_path / "qdrant"))
    engine.build(INDEX, ONE, DIM, [points(10)])
    engine.activate(INDEX, ONE)
    running = tmp_path / "running"
    running.touch()
    command = [sys.executable, "-c", READER, str(tmp_path / "qdrant"), str(running)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
    for turn in range(12):
        version, size = (TWO, 20) if turn % 2 == 0 else (ONE, 10)
        assert engine.build(INDEX, version, DIM, [points(size)]) == size
        engine.activate(INDEX, version)
        engine.prune(INDEX)
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
            connect(f"http://user:secret@127.0.0.1:{port}", None).live(INDEX)


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
            connect(f"http://127.0.0.1:{server.server_port}", "wrong").live(INDEX)
    finally:
        server.shutdown()
        server.server_close()


def test_what_is_no_url() -> None:
    with pytest.raises(BadRequest, match=r"QDRANT_URL is 'localhost:6333'. Allowed: http://HOST:PORT"):
        connect("localhost:6333", None)
