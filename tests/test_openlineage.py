"""A run tells an OpenLineage collector what its stages read and made; a collector that is away stops nothing."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.graph.plan import StageOutcome
from flows.reporting.openlineage import lineage_of
from tests.prefect_server import prefect_server
from tests.tiny_graph import make_tiny_graph

Events = list[dict[str, Any]]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Events]:
    """A collector on loopback, in OPENLINEAGE_URL; what it was sent."""
    got: Events = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/api/v1/lineage"
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OPENLINEAGE_URL", f"http://127.0.0.1:{server.server_port}")
        yield got
        server.shutdown()


def told(events: Events) -> list[tuple[str, str]]:
    return [(event["job"]["name"], event["eventType"]) for event in events]


@pytest.mark.slow
def test_each_stage_starts_and_ends_with_what_it_read_and_made(collector: Events, tmp_path: Path) -> None:
    prefect_server()
    tiny = make_tiny_graph(tmp_path / "w")
    tiny.order("join@a", exit=3)
    failed = tiny.start_run("a", forked=True)
    said = failed.communicate(timeout=240)
    assert failed.returncode != 0
    stages = ["prepare@a", "left@a", "right@a"]
    assert sorted(told(collector)) == sorted(
        [(stage, what) for stage in stages for what in ("START", "COMPLETE")]
        + [("join@a", "START"), ("join@a", "FAIL")]
    ), said
    runs = {(event["job"]["name"], event["run"]["runId"]) for event in collector}
    assert len(runs) == 4
    last = collector[-1]
    assert (last["eventType"], last["job"]["namespace"]) == ("FAIL", "headrace")
    assert "last words" in last["run"]["facets"]["errorMessage"]["message"]

    left = next(e for e in collector if (e["job"]["name"], e["eventType"]) == ("left@a", "COMPLETE"))
    entry = yaml.safe_load((tiny.root / "dvc.lock").read_text())["stages"]["left@a"]
    for side, key in (("inputs", "deps"), ("outputs", "outs")):
        assert {(d["name"], d["facets"]["version"]["datasetVersion"]) for d in left[side]} == {
            (str(tiny.root / each["path"]), f"md5:{each['md5']}") for each in entry[key]
        }
        assert {d["namespace"] for d in left[side]} == {"file"}


def ended_badly(say: Any) -> None:
    with lineage_of(Path("/nowhere"), say) as lineage:
        assert lineage is not None
        for _ in range(2):
            lineage.started("train@a")
            lineage.ended(StageOutcome("train@a", "failed", message="no space"))
        lineage.ended(StageOutcome("settings@a", "cached"))


def test_failures_and_reruns_are_runs_of_their_own(collector: Events) -> None:
    said = list[str]()
    ended_badly(said.append)
    assert told(collector) == [("train@a", "START"), ("train@a", "FAIL")] * 2
    assert len({event["run"]["runId"] for event in collector}) == 2
    assert said == []


@pytest.mark.slow
@pytest.mark.parametrize("url", ["http://me:s3cret@127.0.0.1:9", "no address"])
def test_a_collector_that_is_away_is_said_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENLINEAGE_URL", url)
    said = list[str]()
    ended_badly(said.append)
    assert len(said) == 1
    assert said[0].startswith("OPENLINEAGE_URL: no more events in this run, which goes on: ")
    assert "s3cret" not in said[0]


def test_nothing_is_told_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENLINEAGE_URL", raising=False)
    with lineage_of(Path("/nowhere"), print) as lineage:
        assert lineage is None
