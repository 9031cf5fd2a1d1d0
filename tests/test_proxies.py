"""Proxies of the environment are never asked for what runs on this machine, and for all else they are."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path

import httpx
import pytest
import requests.utils
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from core.addresses import spare_loopback
from core.errors import BadRequest
from core.workspace import Workspace
from flows.graph import dvc
from flows.servers.servers import await_users_server, prefect_environment

PROXY = "http://127.0.0.1:9"
OURS = ["http://127.0.0.1:4200/api", "http://localhost:5000/", "http://[::1]:6333/", "http://mlflow-1f.localhost:80/"]
NAMES = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]

ODD = [f"{host},corp.example" for host in ("[::1]:8080", "10.0.0.0/8,fe80::/10", "[fe80::1%eth0]:80", "[fd00::]/8", "")]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*NAMES, "NO_PROXY", "no_proxy"]:
        monkeypatch.setenv(name, "")  # so that what a test sets is undone
        monkeypatch.delenv(name)


def asked(url: str) -> dict[str, bool]:
    """By which clients a proxy is asked for an address."""
    client = httpx.Client()
    plain = url.replace("[::1]", "::1") if "[" in url else url
    socket = parse_uri("ws" + url.removeprefix("http"))
    return {
        "httpx": client._transport_for_url(httpx.URL(url)) is not client._transport,
        "requests": not requests.utils.should_bypass_proxies(url, None),
        "websockets": "[" not in plain and get_proxy(socket) is not None,
        "urllib": "[" not in url and not urllib.request.proxy_bypass(httpx.URL(url).netloc.decode()),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spared", [None, "", "corp.example", " corp.example , localhost", "[::1],corp.example", *ODD])
@pytest.mark.parametrize("written", ["NO_PROXY", "no_proxy"])
def test_only_what_lies_elsewhere_goes_by_a_proxy(
    name: str, spared: str | None, written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, PROXY)
    if spared is not None:
        monkeypatch.setenv(written, spared)
    spare_loopback()
    for url in OURS:
        assert not any(asked(url).values()), (url, asked(url))
    assert not any(asked("http://corp.example/").values()) or "corp" not in (spared or "")
    if name.lower() in ("http_proxy", "all_proxy"):
        assert asked("http://elsewhere.example/")["httpx"]
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"]
    before = os.environ["NO_PROXY"]
    spare_loopback()
    assert os.environ["NO_PROXY"] == before


def test_nothing_is_set_where_there_is_no_proxy_and_a_star_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    spare_loopback()
    assert "NO_PROXY" not in os.environ
    monkeypatch.setenv("HTTP_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", "*")
    spare_loopback()
    assert (os.environ["NO_PROXY"], os.environ.get("no_proxy")) == ("*", None)


@pytest.mark.parametrize("spared", ODD)
def test_hosts_that_are_spared_stop_no_client_where_there_is_no_proxy(
    spared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", spared)
    spare_loopback()
    httpx.Client().close()
    assert "127.0.0.1" not in os.environ["NO_PROXY"] and "corp.example" in os.environ["NO_PROXY"]


def test_two_lists_that_differ_are_both_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", "a.example")
    monkeypatch.setenv("no_proxy", "b.example")
    spare_loopback()
    assert os.environ["NO_PROXY"].split(",")[0] == "a.example"
    assert os.environ["no_proxy"].split(",")[0] == "b.example"
    assert "127.0.0.1" in os.environ["NO_PROXY"].split(",") and "127.0.0.1" in os.environ["no_proxy"].split(",")


def test_whatever_loads_dvc_spares_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a run does that is no command of ours: a scheduled one, in a process of Prefect's."""
    monkeypatch.setenv("http_proxy", PROXY)
    dvc.guard()
    assert not any(asked(OURS[0]).values())


@pytest.mark.parametrize("value", ["socks://127.0.0.1:9", "ftp://127.0.0.1:9"])
def test_a_proxy_that_no_client_knows_is_named(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    words = f"a proxy in the environment cannot be used: ALL_PROXY={value}"
    with pytest.raises(BadRequest, match=words), prefect_environment(Workspace(tmp_path), "http://127.0.0.1:1/api"):
        pass
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    with pytest.raises(BadRequest, match="cannot be used"):
        await_users_server()
