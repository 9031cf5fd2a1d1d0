"""What the HTTP application takes and refuses: limits, mistakes, other people's paths; one message each."""

from __future__ import annotations

import asyncio
import base64
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from fastapi import FastAPI, HTTPException

from core.errors import BadRequest
from core.tables.task import Predictions
from core.workspace import Workspace
from pipelines.tasks import find_task
from registry.store.versions import Version
from registry.version.answerer import About, Answerer
from registry.version.predict import Loaded
from serving.app import make_app
from serving.http.api_keys import OPERATOR, Keys
from serving.http.bodies import MAX_BODY_BYTES
from serving.http.door import is_loopback
from serving.http.threads import Workers
from serving.indexes.indexes import Indexes
from serving.models.champions import Champion, Champions
from serving.models.predicting import MAX_INPUTS
from serving.server import _listening, _url
from tests.served_index import updates_by
from tests.small_model import trusting

IN_AN_INDEX = ("search", "answer", "documents", "documents/{id}", "updates")
VERSION = Version("shapes", "7", "run", "model", 0, {}, ())


class Sizes:
    """A predictor of media that answers with the size of each file; of texts with their length."""

    def __init__(self, may_answer: threading.Event | None = None) -> None:
        self.may_answer = may_answer

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        if self.may_answer is not None:
            assert self.may_answer.wait(timeout=60)
        if media is None:
            return {"size": np.array([len(text) for text in rows["text"]])}
        return {"size": np.array([(media / path).stat().st_size for path in rows["path"]])}

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return pd.DataFrame({"size": predictions["size"]})


class Failing(Sizes):
    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        raise ZeroDivisionError("of a secret")


def champions(tmp_path: Path, **predictors: Sizes) -> Champions:
    """Served without a registry: `shapes` takes media, the others texts."""
    made = Champions(tmp_path, trusting, [], print)
    for name, predictor in predictors.items():
        about = About("t", ("path",), "image") if name == "shapes" else About("t", ("text",), None)
        contract = find_task("image_classification" if name == "shapes" else "text_classification").contract
        loaded = Loaded(VERSION, Answerer(about, contract, predictor))
        made.serving = {**made.serving, name: Champion(loaded, "2026-11-25T00:00:00.000+00:00")}
    return made


def app_of(served: Champions, root: Path, workers: Workers | None = None) -> FastAPI:
    """With the models only, and no key."""
    keys = Keys(root / "keys.yaml", OPERATOR)
    return make_app(served, Indexes(Workspace(root)), updates_by(root / "var", "true"), workers or Workers(), keys)


def client(app: FastAPI) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


def post(app: FastAPI, name: str, **request: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with client(app) as asking:
            return await asking.post(f"/models/{name}/predict", **request)

    return asyncio.run(ask())


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    return app_of(champions(tmp_path, shapes=Sizes(), words=Sizes(), bad=Failing()), tmp_path)


def test_answers_come_in_order_with_their_version(app: FastAPI) -> None:
    done = post(app, "words", json={"inputs": ["a", "four", ""]})
    assert done.json() == {"model": "words", "version": "7", "answers": [{"size": 1}, {"size": 4}, {"size": 0}]}
    assert post(app, "words", json={"inputs": []}).json()["answers"] == []


def test_media_come_in_base64_and_never_as_a_path(app: FastAPI, tmp_path: Path) -> None:
    own = tmp_path / "own.png"
    own.write_bytes(b"12345")
    encoded = base64.b64encode(b"123").decode()
    done = post(app, "shapes", json={"inputs": [encoded, f"data:image/png;base64,{encoded}"]})
    assert done.json()["answers"] == [{"size": 3}, {"size": 3}]
    for path in (str(own), f"file://{own}", "/etc/passwd", "../own.png"):
        refused = post(app, "shapes", json={"inputs": [encoded, path]})
        assert refused.status_code == 422
        assert refused.json() == {"detail": f"input 2: not base64 of a file: {path[:80]!r}."}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the body: Field required."),
        (b"{", "the body is not JSON: Expecting property name enclosed in double quotes at character 2."),
        (b"\xff\xfe", "the body is not JSON: Expecting value at character 1."),
        (b'"\xe9"', "the body is not JSON that can be read."),
        (b"[" * 100_000, "the body is not JSON that can be read."),
        (b"[]", "the body: Input should be a valid dictionary"),
        (b"{}", "inputs: Field required."),
        (b'{"inputs": "one"}', "inputs: Input should be a valid list."),
        (b'{"inputs": ["a", 2]}', "inputs.1: Input should be a valid string or an object of columns."),
        (b'{"inputs": ["a", "ab\\ud800"]}', "inputs.1: character 3 is half of a surrogate pair."),
        (b'{"inputs": [], "\\ud800": 1}', "unable to parse raw data as a unicode string."),
        ('{"inputs": [], "é": 1}'.encode(), "\\xe9: Extra inputs are not permitted."),
        (b'{"inputs": [], "version": "1"}', "version: Extra inputs are not permitted."),
        (b'{"inputs": [1, 2, 3, 4, 5]}', "And 2 more."),
    ],
)  # fmt: skip
def test_a_body_that_is_none_gets_one_message(app: FastAPI, body: bytes, says: str) -> None:
    done = post(app, "words", content=body, headers={"Content-Type": "application/json"})
    assert done.status_code == 422
    detail = done.json()["detail"]
    assert says in detail and detail.endswith('Send {"inputs": ["...", ...]} as application/json.'), detail
    assert len(detail) < 400


def test_another_sites_form_is_no_request(app: FastAPI) -> None:
    """A page elsewhere may send plain text without asking the browser; JSON it may not."""
    done = post(app, "words", content=b'{"inputs": ["a"]}', headers={"Content-Type": "text/plain"})
    assert done.status_code == 422


def test_more_inputs_than_a_request_may_have(app: FastAPI) -> None:
    assert len(post(app, "words", json={"inputs": ["a"] * MAX_INPUTS}).json()["answers"]) == MAX_INPUTS
    done = post(app, "words", json={"inputs": ["a"] * (MAX_INPUTS + 1)})
    assert done.status_code == 422
    assert f"inputs: List should have at most {MAX_INPUTS} items" in done.json()["detail"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_larger_than_allowed(app: FastAPI, announced: bool) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b"x" * (MAX_BODY_BYTES // 8)

    content: Any = b"x" * (MAX_BODY_BYTES + 1) if announced else parts()
    done = post(app, "words", content=content, headers={"Content-Type": "application/json"})
    assert done.status_code == 413
    assert done.json() == {"detail": "the body is larger than 8,388,608 bytes. Send the inputs in several requests."}


def test_an_unknown_model_lists_what_is_served(app: FastAPI) -> None:
    done = post(app, "shape", json={"inputs": []})
    assert done.status_code == 404
    assert done.json() == {"detail": "no model 'shape' is served here. Served: bad, shapes, words."}


def test_a_failure_shows_no_traceback(app: FastAPI) -> None:
    done = post(app, "bad", json={"inputs": ["a"]})
    assert done.status_code == 500
    assert done.json() == {"detail": "the server failed at this request; its log says why."}


def test_no_free_worker_in_time_is_busy_and_the_others_are_answered(tmp_path: Path) -> None:
    may_answer = threading.Event()
    app = app_of(champions(tmp_path, words=Sizes(may_answer)), tmp_path, Workers(1, wait_s=0.2))

    async def ask() -> list[httpx.Response]:
        async with client(app) as asking:
            path, inputs = "/models/words/predict", {"inputs": ["a"]}
            first = asyncio.create_task(asking.post(path, json=inputs))
            await asyncio.sleep(0.1)
            given_up = asyncio.create_task(asking.post(path, json=inputs))
            refused = await asking.post(path, json=inputs)
            health = await asking.get("/health")
            may_answer.set()
            return [await first, await given_up, refused, health, await asking.post(path, json=inputs)]

    answers = asyncio.run(ask())
    assert [answer.status_code for answer in answers] == [200, 503, 503, 200, 200]
    assert answers[2].headers["Retry-After"] == "1"
    assert answers[2].json() == {"detail": "no worker became free in 0.2 s. Ask again."}


def test_a_request_that_is_given_up_does_not_free_a_worker_that_still_works() -> None:
    may_end, ran = threading.Event(), []

    async def ask() -> None:
        workers = Workers(1, wait_s=0.2)
        first = asyncio.create_task(workers.run(lambda: ran.append(may_end.wait(timeout=60))))
        await asyncio.sleep(0.1)
        first.cancel()
        with pytest.raises(HTTPException, match=r"no worker became free in 0\.2 s"):
            await workers.run(lambda: ran.append(False))
        may_end.set()
        await workers.run(lambda: ran.append(True))

    asyncio.run(ask())
    assert ran == [True, True]


def test_which_addresses_are_of_this_machine_only() -> None:
    for host in ("127.0.0.1", "127.0.0.9", "::1", "localhost"):
        assert is_loopback(host)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"):
        assert not is_loopback(host)


def test_an_address_that_cannot_be_had_is_one_message() -> None:
    with _listening("127.0.0.1", 0) as taken:
        host, port = taken.getsockname()
        assert _url(taken) == f"http://127.0.0.1:{port}"
    with _listening("0.0.0.0", 0) as everywhere:  # a link to that address means another host, and is refused
        assert _url(everywhere) == f"http://127.0.0.1:{everywhere.getsockname()[1]}"
    with _listening("127.0.0.1", 0) as taken:
        host, port = taken.getsockname()
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)  # or each answer waits 40 ms for the one before
        with pytest.raises(BadRequest, match=f"port {port} of {host} is in use"):
            _listening(host, port)
    for host in ("192.0.2.1", "no host at all"):  # an address of nobody (RFC 5737), and none
        with pytest.raises(BadRequest, match=f"--host {host} --port 0 cannot be listened on: "):
            _listening(host, 0)


def test_what_serves_nothing_says_so(tmp_path: Path) -> None:
    app = app_of(Champions(tmp_path, trusting, [], print), tmp_path)

    async def ask() -> list[httpx.Response]:
        async with client(app) as asking:
            return [await asking.get(path) for path in ("/ready", "/models", "/health", "/openapi.json", "/docs")]

    ready, models, health, openapi, docs = asyncio.run(ask())
    assert (ready.status_code, ready.json()["ready"]) == (503, False)
    assert "no model has a champion that can be served" in ready.json()["registry"]
    assert models.json() == {"models": []}
    assert health.status_code == 200
    of_indexes = {"/indexes", *(f"/indexes/{{index}}/{each}" for each in IN_AN_INDEX)}
    of_models = {"/models", "/models/{name}/predict"}
    assert {*of_indexes, *of_models, "/metrics", "/health", "/ready"} == set(openapi.json()["paths"])
    assert docs.status_code == 200
