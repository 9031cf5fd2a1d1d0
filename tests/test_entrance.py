"""What a local server's entrance lets in, and what it does not: each kind of request, without a server behind."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from core.workspace import Workspace
from flows.servers.entrance import Entrance
from flows.servers.gateway import bound
from flows.servers.local import Server
from serving.ports import port_before, remember_port
from serving.server import _listener

SERVER = Server(1, 1.0, 4200, "prefect-0123456789abcdef.localhost", "the-key", "the-token")
OWN = f"{SERVER.host}:4200"
EVENTS = f"ws://{OWN}/events"
KEY = {"Authorization": SERVER.authorization}
FETCH = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
LINK = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


async def echo(socket: WebSocket) -> None:
    """As Prefect's sockets do: accepts first, and reads then."""
    await socket.accept()
    await socket.send_json({"heard": await socket.receive_json()})
    await socket.close()


def app() -> Entrance:
    page = Route("/{path:path}", lambda _: PlainTextResponse("in"), methods=["GET", "POST", "OPTIONS"])
    return Entrance(Starlette(routes=[WebSocketRoute("/events", echo), page]), SERVER)


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(app(), base_url=f"http://{OWN}", follow_redirects=False) as made:
        yield made


@pytest.mark.parametrize("host", [OWN, "127.0.0.1:4200", "localhost:4200"])
def test_its_own_clients_get_in_under_its_own_names(client: TestClient, host: str) -> None:
    for key in (SERVER.authorization, "Bearer the-key"):
        assert client.post("/api/x", headers={"Host": host, "Authorization": key}).text == "in"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:4200", "10.evil.example", "192.168.evil.example:4200", "127.0.0.1", "127.0.0.1:4201",
     "127.0.0.1.evil.example:4200", f"x{OWN}", OWN.replace("0123", "0124"), "[::1]:4200", "", f"{OWN}@evil.example"],
)  # fmt: skip
def test_no_other_name_is_answered_even_with_the_key(client: TestClient, host: str) -> None:
    assert client.get("/api/health", headers={**KEY, "Host": host}).status_code == 421


@pytest.mark.parametrize(
    "key",
    ["", "Basic", "Basic ", "Bearer ", "Bearer", "Bearer the-token", "Basic the-key", "Bearer the-ke",
     "Bearer the-key ", "Bearer thé-key", "Basic aGVhZHJhY2U6"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/health", "/health", "/version", "/ui-settings", "/api/../api/x", "//x"])
def test_without_the_key_nothing_is_open(client: TestClient, key: str, path: str) -> None:
    answer = client.get(path, headers=[(b"authorization", key.encode())] if key else [])
    assert (answer.status_code, "headrace status" in answer.text) == (401, True)
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "given",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:9999"},
     {"Origin": "http://127.0.0.1:4200"}, {"Origin": f"http://{SERVER.host}:9999"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_a_page_of_another_site_is_refused_with_cookie_and_key(
    client: TestClient, given: dict[str, str], method: str
) -> None:
    client.get(f"/?token={SERVER.token}")
    assert client.get("/").text == "in"
    for more in (FETCH, {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, {}):
        assert client.request(method, "/api/x", headers={**KEY, **given, **more}).status_code == 403
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(EVENTS, headers={**KEY, **given}):
        pass


def test_a_link_of_another_site_opens_the_page_and_posts_nothing(client: TestClient) -> None:
    from_afar = {**LINK, "Sec-Fetch-Site": "cross-site"}
    assert client.get("/runs", headers=from_afar).status_code == 401
    assert client.get(f"/runs?token={SERVER.token}", headers=from_afar).status_code == 303
    assert client.get("/runs", headers=from_afar).text == "in"
    assert client.post("/runs", headers=from_afar).status_code == 403


def test_the_token_becomes_a_cookie_of_the_pages_own_name(client: TestClient) -> None:
    answer = client.get(f"/runs/flow-run/1?a=b%26c&token={SERVER.token}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"http://{OWN}/runs/flow-run/1?a=b%26c")
    cookie = answer.headers["set-cookie"]
    assert SERVER.token not in cookie and SERVER.key not in cookie
    assert {part.strip() for part in cookie.lower().split(";")[1:]} == {"httponly", "samesite=lax", "path=/"}
    assert (answer.headers["referrer-policy"], answer.headers["cache-control"]) == ("no-referrer", "no-store")
    assert client.get("/").headers["referrer-policy"] == "same-origin"
    with TestClient(app(), base_url=f"http://{OWN}", cookies=client.cookies) as restarted:
        assert restarted.get("/").status_code == 401  # the cookie was of that process


@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:4200"])
def test_under_a_name_that_other_ports_share_no_cookie_is_given(client: TestClient, host: str) -> None:
    answer = client.get(f"/runs?token={SERVER.token}", headers={"Host": host})
    assert answer.headers["location"] == f"http://{OWN}/runs?token={SERVER.token}"
    assert "set-cookie" not in answer.headers


def test_the_token_leads_nowhere_else_and_changes_nothing(client: TestClient) -> None:
    for path in ("//evil.example/", "/\\evil.example", "/%0d%0aX: y"):
        answer = client.get(f"{path}?token={SERVER.token}")
        assert answer.headers["location"].startswith(f"http://{OWN}/") and "x" not in answer.headers
    client.cookies.clear()
    assert client.post(f"/?token={SERVER.token}").status_code == 401
    assert client.get("/?token=the-tokem").status_code == 401


def heard(client: TestClient, first: Any, **more: Any) -> Any:
    with client.websocket_connect(EVENTS, subprotocols=["prefect"], **more) as opened:
        opened.send_json(first)
        return opened.receive_json()


def test_a_websocket_says_the_key_first(client: TestClient) -> None:
    """Most of Prefect's clients send it in their first message alone."""
    assert heard(client, {"type": "auth", "token": SERVER.credentials})["heard"]["type"] == "auth"
    assert heard(client, {"type": "filter"}, headers=KEY)["heard"] == {"type": "filter"}
    wrong: Any
    for wrong in ({"type": "auth", "token": None}, {"type": "auth", "token": "the-key"}, {"type": "filter"}, [], "x"):
        with pytest.raises(WebSocketDisconnect) as closed:
            heard(client, wrong)
        assert closed.value.code == 1008
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(EVENTS):  # not of Prefect's kind
        pass


def test_a_port_is_kept_from_start_to_start_while_it_is_free(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    ours = bound(port_before(place, "mlflow"))
    port = ours[0].getsockname()[1]
    remember_port(place, "mlflow", port)
    assert stat.S_IMODE((tmp_path / "var" / "servers" / "mlflow.port").stat().st_mode) == 0o600
    caller = socket.create_connection(("127.0.0.1", port))
    taken = ours[0].accept()[0]
    for each in (taken, *ours, caller):  # in this order the port has a connection that is being closed still
        each.close()
    again = bound(port_before(place, "mlflow"))
    other = bound(port)
    try:
        assert again[0].getsockname()[1] == port
        assert other[0].getsockname()[1] != port
    finally:
        for each in (*again, *other):
            each.close()


def test_serve_has_the_port_that_it_had_unless_one_is_named(tmp_path: Path) -> None:
    def port(named: int = 0) -> int:
        with _listener(Workspace(tmp_path), "127.0.0.1", named) as ours:
            return int(ours.getsockname()[1])

    first = port()
    assert port() == first
    with socket.create_server(("127.0.0.1", first)):
        assert (second := port()) != first
    with socket.create_server(("127.0.0.1", 0)) as free:
        named = free.getsockname()[1]
    assert port(named) == named
    assert port() == second


def test_a_port_is_nobody_elses_once_it_is_bound() -> None:
    """Before it is announced: the race for it is over when others can read of it."""
    ours = bound()
    port = ours[0].getsockname()[1]
    try:
        for family, host in [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")]:
            if family == socket.AF_INET6 and len(ours) == 1:
                continue
            with socket.socket(family) as squatter:
                squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with pytest.raises(OSError, match="in use"):
                    squatter.bind((host, port))
    finally:
        for each in ours:
            each.close()
