"""Secrets in the environment stay there: no log, artifact, message, JSON document or command line holds one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.errors import HeadraceError
from flows.graph.graph import Graph
from tests.conftest import TINY_RECIPE, Workspace, make_tiny
from tests.faults.hostile import on_source
from tests.faults.mlflow_server import Server
from tests.prefect_server import prefect_server, with_server
from tests.tiny_graph import make_tiny_graph

WORDS = ("database", "aws", "tracking", "qdrant", "qdrantkey", "notify", "hub")
SECRETS = {word: f"s3cret-{word}-9f2c" for word in WORDS}


def environment(tracking: str) -> dict[str, Any]:
    """Every variable that may hold a secret; tracking: host and port of the MLflow server."""
    return {
        "DATABASE_URL": f"postgresql+psycopg://me:{SECRETS['database']}@127.0.0.1:9/db",
        "AWS_ACCESS_KEY_ID": "AKIA0",
        "AWS_SECRET_ACCESS_KEY": SECRETS["aws"],
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "1",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_TRACKING_URI": f"http://me:{SECRETS['tracking']}@{tracking}",
        "QDRANT_URL": f"http://me:{SECRETS['qdrant']}@127.0.0.1:9",
        "QDRANT_API_KEY": SECRETS["qdrantkey"],
        "HEADRACE_NOTIFY_URL": f"json://me:{SECRETS['notify']}@127.0.0.1:9/",
        "HF_TOKEN": SECRETS["hub"],
    }


def leaks(text: str) -> list[str]:
    return [word for word, secret in SECRETS.items() if secret in text]


def files_that_leak(root: Path) -> list[str]:
    """Every file below: data/, var/, DVC's and git's own folders too."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return [f"{path}: {words}" for path in files if (words := leaks(path.read_bytes().decode("latin-1")))]


@contextlib.contextmanager
def command_lines() -> Iterator[list[str]]:
    """What `ps` shows of every process while the block runs."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            for process in psutil.process_iter(["cmdline"]):
                seen.add(" ".join(process.info["cmdline"] or ()))

    thread = threading.Thread(target=look)
    thread.start()
    shown: list[str] = []
    try:
        yield shown
    finally:
        over.set()
        thread.join()
        shown += seen


@pytest.mark.slow
def test_failures_do_not_tell(tiny: Workspace) -> None:
    """Servers that are away, addresses that are none, a database that does not answer."""
    sql = on_source("{sql: {url_env: DATABASE_URL, query: select 1}}")
    tiny.write("sql.yaml", sql)
    tiny.write("recipes/sql.yaml", sql)
    tiny.write("recipes/sql.lock", "source: {kind: sql}\nbases: {}\n")
    tiny.write("s3.yaml", on_source("s3://bucket/rows.csv"))
    env = environment("127.0.0.1:9")
    broken = {name: value.replace("127.0.0.1:9", "[x") for name, value in env.items()}
    said = [tiny.headrace("check", "sql.yaml", "s3.yaml", **env), tiny.headrace("check", "--json", **broken)]
    said += [tiny.headrace("predict", "films", "x", **each) for each in (env, broken)]
    said += [tiny.stage("settings", "sql", **env), tiny.stage("collect", "sql", **env)]
    assert [done.returncode for done in said] == [1, 2, 1, 1, 0, 1], [done.stderr for done in said]
    text = "\n".join(done.stdout + done.stderr for done in said)
    assert "does not answer" in text and "DATABASE_URL" in text
    assert leaks(text) == [] and files_that_leak(tiny.root) == []


def test_an_address_of_qdrants_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from core.errors import BadRequest
    from pipelines.search.engine.qdrant_server import connect

    for url in ("me:{}@host", "ftp://me:{}@host", "http://me:{}@[x", "http://me:{}@host:port"):
        with pytest.raises(BadRequest, match=r"QDRANT_URL is") as fault:
            connect(url.format(SECRETS["qdrant"]), None)
        assert leaks(str(fault.value)) == []


@pytest.mark.slow
def test_a_push_that_fails_does_not_tell(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    graph = make_tiny_graph(tmp_path / "w")
    graph.dvc("remote", "add", "-q", "-d", "store", f"http://me:{SECRETS['database']}@127.0.0.1:9/store")
    graph.write("folder/a.txt", "one\n")
    assert graph.dvc("add", "-q", "folder").returncode == 0
    with pytest.raises(HeadraceError, match="failed to upload") as fault:
        Graph(graph.root).push(["folder.dvc"])
    said = capfd.readouterr()
    assert leaks(str(fault.value) + said.out + said.err) == []


@pytest.mark.slow
def test_a_good_run_and_a_bad_one_do_not_tell(tmp_path: Path) -> None:
    """And their servers listen on this machine only."""
    workspace = make_tiny(tmp_path / "workspace")
    server = Server(tmp_path)
    env = {**environment(f"127.0.0.1:{server.port}"), **with_server()}
    try:
        with command_lines() as shown:
            good = workspace.headrace("run", "tiny", "--json", **env)
            workspace.write("recipes/tiny.yaml", TINY_RECIPE.replace("at_most: 0.05", "labels: [other]"))
            bad = workspace.headrace("run", "tiny", **env)
            status = workspace.headrace("status", **env)
        assert (good.returncode, bad.returncode, status.returncode) == (0, 3, 0), good.stderr + bad.stderr
        assert "HEADRACE_NOTIFY_URL took no message" in bad.stderr
    finally:
        server.kill()
    assert any("stage_template.py" in line for line in shown), "stages are forked from it"
    said = "\n".join([*shown, *(done.stdout + done.stderr for done in (good, bad, status))])
    assert leaks(said) == [] and files_that_leak(tmp_path) == []


@pytest.mark.slow
def test_servers_listen_on_this_machine_only(tiny: Workspace) -> None:
    from core.workspace import Workspace as Place
    from flows.servers import local, servers
    from registry.store.connection import prepare_embedded

    prepare_embedded(tiny.path("var"))
    servers.start_mlflow_page(Place(tiny.root))
    mlflow = local.running(Place(tiny.root), "mlflow")
    assert mlflow is not None
    ports = {mlflow.port, int(prefect_server().split(":")[2].split("/")[0])}
    assert {address for address, port in listening() if port in ports} <= {"127.0.0.1", "::1"}


def listening() -> list[tuple[str, int]]:
    every = psutil.net_connections(kind="inet")
    return [(each.laddr.ip, each.laddr.port) for each in every if each.status == psutil.CONN_LISTEN and each.laddr]
