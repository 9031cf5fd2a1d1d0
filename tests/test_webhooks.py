"""MLflow's webhook wakes the watcher; whoever else calls its receiver does not, and without it looking finds moves."""

from __future__ import annotations

import http.client
import json
import stat
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from core.workspace import Workspace
from flows.promotion import watcher
from flows.promotion.webhook_server import receiving, refusal
from flows.servers import local, servers
from registry.store import versions
from registry.store.connection import connect
from registry.store.webhooks import server_settings, subscribe
from tests.tiny_graph import until

if TYPE_CHECKING:
    from mlflow import MlflowClient

SECRET, BODY = "s3cret", b'{"entity": "model_version_alias"}'
NOW = 1_764_000_000


def headers(**changed: str) -> dict[str, str]:
    """As MLflow itself signs BODY."""
    from mlflow.webhooks.delivery import _generate_hmac_signature

    signature = _generate_hmac_signature(SECRET, "d-1", str(NOW), BODY.decode())
    found = {"Delivery-Id": "d-1", "Timestamp": str(NOW), "Signature": signature} | changed
    return {f"X-MLflow-{name}": value for name, value in found.items()}


def test_mlflows_own_signature_is_known_and_may_come_late() -> None:
    assert refusal(SECRET, headers(), BODY, NOW) is None
    assert refusal(SECRET, headers(), BODY, NOW + 299) is None


@pytest.mark.parametrize(
    ("given", "body", "now", "why"),
    [
        ({}, BODY, NOW, "not signed"),
        (headers(Signature=""), BODY, NOW, "not signed"),
        (headers(Signature="v1,AAAA"), BODY, NOW, "signature is not"),
        (headers(Signature="v1,é€"), BODY, NOW, "signature is not"),
        (headers(), BODY + b" ", NOW, "signature is not"),
        ({**headers(), "X-MLflow-Delivery-Id": "d-2"}, BODY, NOW, "signature is not"),
        (headers(Timestamp=str(NOW + 1)), BODY, NOW, "signature is not"),
        (headers(), BODY, NOW + 301, "timestamp is not"),
        (headers(), BODY, NOW - 301, "timestamp is not"),
        (headers(Timestamp="²"), BODY, NOW, "timestamp is not"),
        (headers(Timestamp="9" * 5000), BODY, NOW, "timestamp is not"),
    ],
)
def test_what_mlflow_did_not_send_now_is_refused(given: dict[str, str], body: bytes, now: int, why: str) -> None:
    assert why in (refusal(SECRET, given, body, now) or "")


def call(url: str, headers: dict[str, str], body: bytes) -> int:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_receiver_answers_strangers_and_wakes_nobody(tmp_path: Path) -> None:
    woken, said = threading.Event(), list[str]()
    with receiving(Workspace(tmp_path), woken.set, said.append) as webhook:
        assert webhook._url.startswith("http://127.0.0.1:")
        signed = headers() | {"X-MLflow-Timestamp": str(int(time.time()))}
        assert [call(webhook._url, signed, BODY) for _ in range(3)] == [401, 401, 401]
        assert call(webhook._url, {}, BODY) == 401
        assert call(webhook._url, {}, b"x" * 70_000) == 413
        host = webhook._url.split("/")[2]
        for length, status in (("many", 411), ("9" * 30, 413)):
            connection = http.client.HTTPConnection(host, timeout=10)
            connection.putrequest("POST", "/alias-moved")
            connection.putheader("Content-Length", length)
            connection.endheaders()
            assert connection.getresponse().status == status
            connection.close()
    assert not woken.is_set()
    assert len(said) == 2, said  # each reason once
    assert not webhook.registered


def test_the_key_stays_and_is_its_owners(tmp_path: Path) -> None:
    key = server_settings(tmp_path)["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"]
    assert server_settings(tmp_path)["MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"] == key
    assert stat.S_IMODE((tmp_path / "webhooks.key").stat().st_mode) == 0o600


def test_a_server_elsewhere_is_not_told_of_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example.org")
    said = list[str]()
    with receiving(Workspace(tmp_path), said.clear, said.append) as webhook:
        webhook.keep()
        webhook.keep()
    assert said == [
        "no webhook, moves are found by looking: the MLflow server https://mlflow.example.org cannot reach this "
        "machine's loopback"
    ]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, MlflowClient]]:
    """A workspace whose model `films` has a version that the ledger does not know, and MLflow's server over it."""
    from mlflow import MlflowClient

    place = Workspace(tmp_path_factory.mktemp("webhooks"))
    client = connect(place.var)
    client.create_registered_model("films")
    client.create_model_version("films", source=str(place.root), run_id=None)
    servers.start_mlflow_page(place)
    server = local.running(place, "mlflow")
    assert server is not None
    url = server.url.replace("//", f"//{server.credentials}@")
    asked = MlflowClient(url, registry_uri=url)
    assert asked.get_registered_model("films").name == "films"  # the first request loads MLflow
    assert servers.mlflow_running(place) == url
    yield place, asked
    servers.stop(place)


def moved(place: Workspace, move: Callable[[], object], *, back_within_s: float) -> float | None:
    """Seconds until a move was undone; None: it was not."""
    move()
    began = time.monotonic()
    while time.monotonic() - began < back_within_s:
        if versions.raw_champion(connect(place.var), "films") is None:
            return time.monotonic() - began
        time.sleep(0.05)
    return None


@pytest.mark.slow
def test_mlflow_wakes_the_watcher_strangers_do_not_and_looking_stays(
    page: tuple[Workspace, MlflowClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, server = page
    said = list[str]()
    with receiving(place, said.clear, said.append) as killed:  # leaves its webhook, as after a kill
        subscribe(server.tracking_uri, killed._name, "http://127.0.0.1:9/alias-moved", "x")
    by_server = lambda: server.set_registered_model_alias("films", "champion", "1")  # noqa: E731
    by_file = lambda: connect(place.var).set_registered_model_alias("films", "champion", "1")  # noqa: E731

    monkeypatch.setattr(watcher, "LOOK_EVERY_S", 300.0)
    with watcher.watching(place, said.append):
        until(lambda: [w.url for w in server.list_webhooks()] not in ([], ["http://127.0.0.1:9/alias-moved"]))
        (webhook,) = server.list_webhooks()
        assert webhook.secret is None or webhook.secret not in json.dumps(said)
        assert moved(place, by_server, back_within_s=20) is not None
        time.sleep(3)  # a first look may have been quicker than the call, which comes then
        for given in ({}, headers(), headers(Timestamp=str(int(time.time())))):
            assert call(webhook.url, given, BODY) == 401
        assert moved(place, by_file, back_within_s=2) is None  # neither they nor SQLite told anybody
        assert moved(place, by_server, back_within_s=20) is not None
    assert server.list_webhooks() == []

    monkeypatch.setattr(watcher, "LOOK_EVERY_S", 1.0)
    with watcher.watching(place, said.append):
        until(lambda: len(server.list_webhooks()) == 1)
        server.update_webhook(server.list_webhooks()[0].webhook_id, url="http://127.0.0.1:9/nobody")
        assert moved(place, by_server, back_within_s=10) is not None
    assert server.list_webhooks() == []
    assert sum("is back at nobody" in line for line in said) == 3
    assert "Traceback" not in "".join(said)
