"""Replies of a real Qdrant server dropped and delayed: it holds what it holds without faults.

The server is the one that QDRANT_URL names (conftest.py keeps it as TEST_QDRANT_URL); no package carries one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.atomic_files import read_json
from core.workspace import Job
from pipelines.chunk import chunk
from pipelines.embed import embed
from pipelines.publish import publish
from pipelines.search.engine.engine import INDEXED
from pipelines.search.engine.qdrant_server import Server, connect
from tests import small_index
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.slow

FAULTS = int(os.environ.get("TEST_FAULTS", "60"))
URL = os.environ.get("TEST_QDRANT_URL")


@pytest.mark.skipif(not URL, reason="this did not run against a Qdrant server: QDRANT_URL is not set")
def test_lost_replies_leave_the_points_and_the_alias(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish, and publish again, one state of the documents after another, until enough replies were lost."""
    monkeypatch.setenv("HEADRACE_PATIENCE_S", "120")
    monkeypatch.setattr("core.patience._LONGEST_PAUSE_S", 0.2)
    job = small_index.make(tmp_path, {})
    server = connect(str(URL), os.environ.get("QDRANT_API_KEY"))
    number = 0
    with Proxy(str(URL), drop=0.15, delay=0.1, seed=4) as proxy:
        monkeypatch.setenv("QDRANT_URL", proxy.url)
        while proxy.done["dropped"] + proxy.done["delayed"] < FAULTS:
            number += 1
            publish_twice(job, number)
            check(job, server)
    for collection in server.client.get_collections().collections:
        if collection.name.startswith("small-"):
            server.client.delete_collection(collection.name)


def publish_twice(job: Job, number: int) -> None:
    small_index.screened(job, {f"{each}.txt": f"Part {each} of {number}. {small_index.STORY}" for each in range(4)})
    for stage in (chunk, embed, publish, publish):
        stage.run(job)


def check(job: Job, server: Server) -> None:
    version = read_json(job.folder / "published.json")["version"]
    name = f"small-{version}"
    collections = [each.name for each in server.client.get_collections().collections]
    kept = {f"small-{each}" for each in server.pointers("small").kept}
    assert {each for each in collections if each.startswith("small-")} == kept >= {name}
    assert server.pointers("small").live == version
    records, _ = server.client.scroll(name, limit=10_000)
    held = sorted((record.payload or {})["text"] for record in records)
    assert held == sorted(row["text"] for row in small_index.rows(job))
    assert server.client.get_collection(name).payload_schema.keys() == set(INDEXED)
