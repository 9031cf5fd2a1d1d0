"""Indexes over HTTP: search, answers whole and streamed, limits, readiness, metrics."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from core.errors import HeadraceError
from core.workspace import Job
from pipelines.search.ask.query import query
from pipelines.search.text.terms import Analyser
from serving.http.threads import Workers
from serving.indexes.searching import marks
from tests import served_index
from tests.served_index import app_of, client_of

QUESTION = "Who rescued the horses?"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return served_index.make(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def app(job: Job) -> FastAPI:
    return app_of(job)


@pytest.fixture(scope="module")
def client(app: FastAPI) -> TestClient:
    return client_of(app)


def search(client: TestClient, **asked: object) -> dict[str, Any]:
    done = client.post("/indexes/small/search", json={"question": QUESTION, **asked})
    assert done.status_code == 200, done.text
    answer: dict[str, Any] = done.json()
    return answer


@pytest.mark.parametrize("mode", ["dense", "sparse", "hybrid"])
def test_a_search_is_what_query_finds_and_names_its_release(client: TestClient, job: Job, mode: str) -> None:
    found = search(client, mode=mode, limit=3)
    expected = query(job.workspace, "small", QUESTION, 3, access=None, mode=mode)
    assert expected
    assert [(each["document"], each["text"]) for each in found["passages"]] == [(e.document, e.text) for e in expected]
    assert (found["index"], found["mode"]) == ("small", mode)
    assert client.get("/indexes").json() == {"indexes": [{"name": "small", "release": found["release"]}]}


def test_filters_and_what_the_settings_say(client: TestClient) -> None:
    found = search(client, filters={"section": "notes"})
    assert {each["document"] for each in found["passages"]} == {"notes/market.txt"}
    assert search(client)["mode"] == "hybrid"
    assert search(client, filters={"document": "none"})["passages"] == []


def test_words_of_the_question_are_marked_by_their_stems(client: TestClient) -> None:
    [best] = search(client, limit=1)["passages"]
    assert [best["text"][start:end] for start, end in best["matches"]] == ["rescued", "horses"]
    assert marks("floods", "Flooding, 洪水 and Flood-plain", Analyser()) == [(0, 8), (17, 22)]
    assert marks("洪水", "昨夜洪水来了", Analyser()) == [(2, 4)]
    assert marks("the", "the", Analyser()) == []


def test_an_answer_cites_passages_that_hold_what_it_quotes(client: TestClient) -> None:
    done = client.post("/indexes/small/answer", json={"question": QUESTION}).json()
    assert done["answered"] and done["reason"] is None
    [said] = done["sentences"]
    assert said["text"] == "Three firefighters rescued the horses."
    for each in said["citations"]:
        assert done["passages"][each["number"] - 1]["text"][each["start"] : each["end"]] == each["quote"]
    assert done["release"] == search(client)["release"]


def test_what_the_documents_do_not_hold_is_not_answered(client: TestClient) -> None:
    done = client.post("/indexes/small/answer", json={"question": "Which moon of Jupiter has volcanoes?"}).json()
    assert (done["answered"], done["text"], done["sentences"]) == (False, "Not in these documents.", [])
    assert done["reason"]


def test_a_streamed_answer_is_the_same_piece_by_piece(client: TestClient) -> None:
    asked = {"question": QUESTION}
    with client.stream("POST", "/indexes/small/answer", json=asked, headers={"Accept": "text/event-stream"}) as done:
        assert done.headers["content-type"].startswith("text/event-stream")
        events = [event.split("\n") for event in done.read().decode().split("\n\n")[:-1]]
    assert [name for name, _ in events] == ["event: sentence"] * (len(events) - 1) + ["event: answer"]
    said = [json.loads(data.removeprefix("data: ")) for _, data in events]
    assert "".join(each["text"] for each in said[:-1]) == said[-1]["text"]
    assert said[-1] == client.post("/indexes/small/answer", json=asked).json()


def test_a_stream_that_cannot_begin_has_its_own_status(client: TestClient) -> None:
    done = client.post("/indexes/none/answer", json={"question": "a"}, headers={"Accept": "text/event-stream"})
    assert (done.status_code, done.json()) == (404, {"detail": "no index 'none' is served here. Served: small."})


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "question: Field required."),
        ({"question": " \n"}, "question: String should match pattern"),
        ({"question": "a" * 2001}, "question: String should have at most 2000 characters."),
        ({"question": "ab\ud800"}, "question: Input should be a valid string, unable to parse"),
        ({"question": "a", "limit": 0}, "limit: Input should be greater than or equal to 1."),
        ({"question": "a", "limit": 101}, "limit: Input should be less than or equal to 100."),
        ({"question": "a", "mode": "fuzzy"}, "mode: Input should be 'dense', 'sparse' or 'hybrid'."),
        ({"question": "a", "filters": {"labels": "hr"}}, "filters.labels"),
        ({"question": "a", "access": ["hr"]}, "access: Extra inputs are not permitted."),
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_asked(client: TestClient, asked: dict[str, object], says: str) -> None:
    done = client.post("/indexes/small/search", content=json.dumps(asked), headers={"Content-Type": "application/json"})
    assert done.status_code == 422
    assert says in done.json()["detail"]
    assert done.json()["detail"].endswith('Send {"question": "..."} as application/json.')


def test_ready_without_a_model_and_without_an_index(client: TestClient, job: Job, tmp_path: Path) -> None:
    ready = client.get("/ready")
    assert ready.status_code == 200
    assert ready.json()["ready"] and ready.json()["models"] == {} and list(ready.json()["indexes"]) == ["small"]
    shutil.copytree(job.workspace.root, tmp_path / "copy")
    broken = type(job)(type(job.workspace)(tmp_path / "copy"), "index", "small")
    (tmp_path / "copy" / "var" / "qdrant" / "small" / "CURRENT").unlink()
    ready = client_of(app_of(broken)).get("/ready")
    assert (ready.status_code, ready.json()["indexes"]) == (503, {})
    assert ready.json()["faults"] == {
        "small": "its engine has no live release. `headrace index small` publishes it again."
    }


def test_a_fault_of_the_server_is_for_its_log(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(*_: object) -> None:
        raise HeadraceError("/home/somebody/var is gone")

    monkeypatch.setattr("pipelines.search.ask.query.asker_of", lost)
    done = client_of(app_of(job)).post("/indexes/small/search", json={"question": "a"})
    assert (done.status_code, done.headers["Retry-After"]) == (503, "1")
    assert done.json() == {"detail": "this cannot be answered for now; the server's log says why."}
    assert "/home/somebody/var is gone" in capsys.readouterr().err


def test_a_search_that_takes_too_long_is_given_up(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()
    monkeypatch.setattr("pipelines.search.ask.query.asker_of", lambda *_: may_end.wait(timeout=60))
    done = client_of(app_of(job, workers=Workers(1, work_s=0.1))).post("/indexes/small/search", json={"question": "a"})
    may_end.set()
    assert (done.status_code, done.json()) == (504, {"detail": "the answer took longer than 0.1 s."})


def test_metrics_count_by_route_and_say_which_release_is_live(job: Job) -> None:
    client = client_of(app_of(job))  # its own counts
    release = search(client, mode="sparse")["release"]
    client.post("/indexes/small/answer", json={"question": "Which moon of Jupiter has volcanoes?"})
    client.get("/indexes/../secret?key=hr_x")
    text = client.get("/metrics").text
    for line in (
        'headrace_requests_total{method="POST",route="/indexes/{index}/search",status="200"} 1.0',
        'headrace_requests_total{method="GET",route="none",status="404"} 1.0',
        'headrace_request_seconds_count{route="/indexes/{index}/search"} 1.0',
        'headrace_searches_total{index="small",mode="sparse"} 1.0',
        'headrace_answers_total{index="small",outcome="refused"} 1.0',
        f'headrace_release_info{{index="small",release="{release}"}} 1.0',
    ):
        assert line in text
    assert "hr_x" not in text
