"""Ways around the door: pages of other sites, other spellings of a path, other places for a key, odd bodies."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from core.workspace import Job
from tests.served_index import HERE, app_of, client_of, key_of, running
from tests.small_index import make as make_small
from tests.test_serving_app import Sizes, champions, post
from tests.test_serving_app import app_of as app_of_models


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return make_small(tmp_path_factory.mktemp("door"), {"a": "A text."})


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that wants keys."""
    job = make_small(tmp_path_factory.mktemp("keys"), {"a": "A text."})
    key_of(job, "ada")
    with running(app_of(job)) as address:
        yield address


def status(url: str, request: str) -> int:
    """Of a request that is sent as it is: clients tidy paths up."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(f"{request}\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        return int(connection.recv(65536).split()[1])


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:9000"},
        {"Origin": "http://localhost:8000"}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example", "Content-Type": "text/plain"}, {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example"},
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS"])
def test_what_another_site_sends_is_refused_before_it_is_read(job: Job, method: str, headers: dict[str, str]) -> None:
    async def body() -> AsyncIterator[bytes]:
        read.append(True)
        yield b""

    read: list[bool] = []

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app_of(job)), base_url=HERE) as client:
            return await client.request(method, "/indexes/small/documents/a", content=body(), headers=headers)

    done = asyncio.run(ask())
    assert not read
    assert done.status_code == (421 if "Host" in headers else 403)
    assert not [name for name in done.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "target", ["//metrics", "/page.js/../metrics", "/health%2f..%2fmetrics", "/%6detrics", "/ready/../metrics",
               "/READY", "/docs/", "/docs/../metrics", "/docs/swagger-ui.css", "/metrics?/health", "/health;/metrics", "http://127.0.0.1/metrics"],
)  # fmt: skip
def test_no_spelling_of_a_path_is_open_that_is_not(url: str, target: str) -> None:
    assert status(url, f"GET {target} HTTP/1.1") in (400, 401, 404)
    assert status(url, "GET /health HTTP/1.1") == 200


def test_no_websocket_is_opened(url: str) -> None:
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA"
    assert status(url, f"GET /health HTTP/1.1\r\n{upgrade}\r\nOrigin: https://evil.example") == 403
    assert status(url, f"GET /indexes HTTP/1.1\r\n{upgrade}") == 401


def test_a_key_is_taken_from_its_header_alone(job: Job, tmp_path: Path) -> None:
    other = make_small(tmp_path, {"a": "A text."})
    app, key = app_of(other), key_of(other, "ada")
    client = client_of(app)
    for query, header in ((f"?key={key}&access_token={key}", None), ("", f"Basic {key}"), ("", key)):
        done = client.get(f"/indexes{query}", headers={"Authorization": header} if header else {})
        assert done.status_code == 401 and key not in done.text


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> FastAPI:
    root = tmp_path_factory.mktemp("models")
    return app_of_models(champions(root, words=Sizes()), root)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 3_000_000, b'{"inputs":' * 700_000, b'{"inputs": [' + b"9" * 1_000_000 + b"]}",
        b'{"inputs": ["\\ud83d"]}', gzip.compress(json.dumps({"inputs": ["a"]}).encode()), b"\0" * 1000,
        '{"inputs": ["a"]}'.encode("utf-16"),
    ],
    ids=["brackets", "objects", "an integer", "half a surrogate", "gzip", "NUL", "UTF-16"],
)  # fmt: skip
def test_a_body_that_no_parser_likes_is_one_message(models: FastAPI, body: bytes) -> None:
    done = post(models, "words", content=body, headers={"Content-Type": "application/json"})
    assert done.status_code == 422 and len(done.text) < 400


@pytest.mark.parametrize(
    "asked",
    [{"question": "x" * 5000}, {"question": "x", "limit": 10**9}, {"question": " "}, {"question": "x", "limit": 1.5}],
)
def test_a_question_has_bounds(models: FastAPI, asked: dict[str, object]) -> None:
    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(models), base_url=HERE) as client:
            return await client.post("/indexes/x/search", json=asked)

    assert asyncio.run(ask()).status_code == 422
