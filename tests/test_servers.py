"""The workspace's own servers: started once, reused, healed, ended; and those of the user, left alone."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from core.workspace import Workspace
from flows.servers import local, servers


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    made = Workspace(tmp_path)
    yield made
    servers.stop(made)


def test_a_server_of_the_users_is_used_as_it_is(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "https://prefect.example.org/api")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    assert servers.prefect_api(workspace) == "https://prefect.example.org/api"
    assert servers.start_mlflow_page(workspace) == "https://mlflow.example.org"
    assert servers.pages(workspace) == {
        "prefect": "https://prefect.example.org",
        "mlflow": "https://mlflow.example.org",
    }
    assert servers.stop(workspace) == []
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    assert servers.start_mlflow_page(workspace) is None


def test_a_recycled_process_id_is_not_ours(workspace: Workspace) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        created = psutil.Process(stranger.pid).create_time() - 5
        (workspace.var / "servers").mkdir(parents=True)
        about = {"pid": stranger.pid, "created": created, "port": 1}
        (workspace.var / "servers" / "prefect.json").write_text(json.dumps(about))
        assert servers.pages(workspace) == {}
        assert servers.stop(workspace) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.slow
def test_prefect_is_started_once_reused_healed_and_ended(workspace: Workspace) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(servers.prefect_api(workspace))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1
    server = local.running(workspace, "prefect")
    assert server is not None and f"{server.url}/api" == found[0]
    assert servers.pages(workspace) == {"prefect": server.page}
    began = time.monotonic()
    assert servers.prefect_api(workspace) == found[0]
    assert time.monotonic() - began < 1
    assert os.getsid(server.pid) == server.pid  # not of this terminal
    assert (workspace.var / "prefect" / "prefect.db").exists()
    assert json.loads(asked(server, "/api/admin/settings"))["server"]["analytics_enabled"] is False
    os.kill(server.pid, 9)
    os.waitpid(server.pid, 0)
    servers.prefect_api(workspace)
    again = local.running(workspace, "prefect")
    assert again is not None and again.pid != server.pid and again.port == server.port
    assert not {again.key, again.token, again.host} & {server.key, server.token, server.host}
    assert asked(again, "/api/health") == b"true"
    second = psutil.Process(again.pid)
    family = [second, *second.children(recursive=True)]
    assert servers.stop(workspace) == ["prefect"]
    assert not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert servers.stop(workspace) == []


@pytest.mark.slow
def test_the_mlflow_page_waits_for_its_database_and_is_loaded_when_it_is_opened(workspace: Workspace) -> None:
    from registry.store.connection import connect

    assert servers.start_mlflow_page(workspace) is None
    connect(workspace.var).create_experiment("seen")
    page = servers.start_mlflow_page(workspace)
    server = local.running(workspace, "mlflow")
    assert server is not None and server.page == page == servers.start_mlflow_page(workspace)
    light = psutil.Process(server.pid).memory_info().rss
    assert not server.healthy("/health")
    search = asked(server, "/api/2.0/mlflow/experiments/search", b'{"max_results": 9}')
    assert "seen" in {each["name"] for each in json.loads(search)["experiments"]}
    assert server.healthy("/health")
    assert psutil.Process(server.pid).memory_info().rss > 2 * light
    assert servers.stop(workspace) == ["mlflow"]
    with sqlite3.connect(workspace.var / "mlflow" / "mlflow.db") as store:
        assert store.execute("pragma integrity_check").fetchone() == ("ok",)


def asked(server: local.Server, path: str, body: bytes | None = None) -> bytes:
    headers = {"Authorization": server.authorization, "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}{path}", body, headers)) as answer:
        return bytes(answer.read())
