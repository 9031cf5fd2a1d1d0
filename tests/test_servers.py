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
from flows.servers import servers
from tests.tiny_graph import until


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    made = Workspace(tmp_path)
    yield made
    servers.stop(made)


def record(workspace: Workspace, name: str) -> dict[str, float]:
    found: dict[str, float] = json.loads((workspace.var / "servers" / f"{name}.json").read_text())
    return found


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
    assert servers.pages(workspace) == {"prefect": found[0].removesuffix("/api")}
    began = time.monotonic()
    assert servers.prefect_api(workspace) == found[0]
    assert time.monotonic() - began < 1
    first = int(record(workspace, "prefect")["pid"])
    assert os.getsid(first) == first  # not of this terminal
    assert (workspace.var / "prefect" / "prefect.db").exists()
    with urllib.request.urlopen(f"{found[0]}/admin/settings") as answer:
        assert json.load(answer)["server"]["analytics_enabled"] is False
    os.kill(first, 9)
    os.waitpid(first, 0)
    again = servers.prefect_api(workspace)
    second = psutil.Process(int(record(workspace, "prefect")["pid"]))
    assert second.pid != first
    with urllib.request.urlopen(f"{again}/health") as answer:
        assert answer.status == 200
    family = [second, *second.children(recursive=True)]
    assert servers.stop(workspace) == ["prefect"]
    assert not [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
    assert servers.stop(workspace) == []


@pytest.mark.slow
def test_the_mlflow_page_waits_for_its_database(workspace: Workspace) -> None:
    from registry.store.connection import connect

    assert servers.start_mlflow_page(workspace) is None
    connect(workspace.var).create_experiment("seen")
    began = time.monotonic()
    page = servers.start_mlflow_page(workspace)
    assert page is not None and time.monotonic() - began < 2  # known before it answers
    assert servers.start_mlflow_page(workspace) == page

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{page}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    until(answers, timeout_s=90)
    request = urllib.request.Request(
        f"{page}/api/2.0/mlflow/experiments/search", b'{"max_results": 9}', {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        assert "seen" in {each["name"] for each in json.load(answer)["experiments"]}
    assert servers.stop(workspace) == ["mlflow"]
    with sqlite3.connect(workspace.var / "mlflow" / "mlflow.db") as store:
        assert store.execute("pragma integrity_check").fetchone() == ("ok",)
