"""The local servers from the attacker's side: a page in a real browser, another user of the machine, a planted run."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.errors import BadRequest
from core.workspace import Workspace, find_workspace
from flows.servers import local, servers
from flows.servers.gateway import bound, new_server
from registry.store.connection import prepare_embedded
from tests.prefect_server import prefect_place, prefect_server, with_server
from tests.tiny_graph import make_tiny_graph

CHROMIUM = shutil.which("chromium")
WAIT_MS = 60_000
NOBODY = "00000000-0000-0000-0000-000000000000"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None and not os.environ.get("HEADRACE_CI"), reason="Debian's chromium is not installed"
)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    for variable in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(variable, raising=False)
    made = Workspace(tmp_path)
    yield made
    servers.stop(made)


@pytest.fixture(scope="module")
def prefect() -> local.Server:
    """The suite's server, with a deployment that an attacker would change."""
    prefect_server()
    found = local.running(prefect_place(), "prefect")
    assert found is not None
    return found


@pytest.fixture
def deployment(prefect: local.Server) -> str:
    """The id of a deployment without steps and runs."""
    flow = asked(prefect, "POST", "/api/flows/", {"name": "attacked"})
    made = asked(prefect, "POST", "/api/deployments/", {"name": "victim", "flow_id": flow["id"], "pull_steps": []})
    return str(made["id"])


def asked(server: local.Server, method: str, path: str, body: Any = None, tries: int = 20) -> Any:
    """As its owner; again while the server's database is locked."""
    headers = {"Authorization": server.authorization, "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body).encode()
    try:
        request = urllib.request.Request(f"{server.url}{path}", content, headers, method=method)
        with urllib.request.urlopen(request) as said:
            return json.load(said)
    except urllib.error.HTTPError as error:
        if error.code != 503 or tries == 0:
            raise
    time.sleep(0.5)
    return asked(server, method, path, body, tries - 1)


def untouched(server: local.Server, deployment: str) -> bool:
    runs = asked(server, "POST", "/api/flow_runs/filter", {"deployments": {"id": {"any_": [deployment]}}})
    return not asked(server, "GET", f"/api/deployments/{deployment}")["pull_steps"] and not runs


class Evil(ThreadingHTTPServer):
    """A web page of somebody else, on this machine: its port, and what browsers told it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Page)
        self.told: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Page(BaseHTTPRequestHandler):
    server: Evil

    def do_GET(self) -> None:
        self.server.told.append(str(self.headers))
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<title>evil</title>")

    def log_message(self, *_: object) -> None: ...


# What the demonstration did, and its neighbours: every way a page has to ask. Returns what it could read.
_ATTACK = """async ([api, id]) => {
  const steps = {pull_steps: [{"prefect.deployments.steps.run_shell_script": {script: "touch /tmp/pwned"}}]}
  const json = {"Content-Type": "application/json"}
  const read = []
  for (const [path, init] of [
    ["/deployments/filter", {method: "POST", headers: json, body: "{}"}],
    ["/deployments/" + id, {method: "PATCH", headers: json, body: JSON.stringify(steps)}],
    ["/deployments/" + id + "/create_flow_run", {method: "POST", headers: json, body: "{}"}],
    ["/deployments/" + id + "/create_flow_run", {method: "POST", headers: {"Content-Type": "text/plain"}, body: "{}"}],
    ["/deployments/" + id + "/create_flow_run", {method: "POST", body: "{}", mode: "no-cors"}],
    ["/deployments/" + id, {method: "DELETE"}],
    ["/admin/settings", {}], ["/health", {}], ["/csrf-token?client=x", {}],
  ])
    try {
      const answer = await fetch(api + path, {credentials: "include", ...init})
      if (answer.type !== "opaque") read.push(path + " " + answer.status)
    } catch (error) {}
  await new Promise(done => {
    const socket = new WebSocket(api.replace("http", "ws") + "/events/out", "prefect")
    socket.onopen = () => { read.push("websocket"); done() }
    socket.onclose = done
  })
  const frame = document.body.appendChild(document.createElement("iframe"))
  frame.name = "sent"
  const form = document.body.appendChild(document.createElement("form"))
  Object.assign(form, {method: "POST", enctype: "text/plain", target: "sent",
                       action: api + "/deployments/" + id + "/create_flow_run"})
  form.submit()
  await new Promise(done => setTimeout(done, 500))  // a refused frame may tell nobody
  return read
}"""


@pytest.mark.slow
@needs_chromium
def test_no_page_of_another_site_reads_or_changes_anything(prefect: local.Server, deployment: str) -> None:
    """Real Chromium, in which the owner has Prefect's page open: the cookie is there."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, Evil() as evil:
        there = ["--no-sandbox", "--host-resolver-rules=MAP *.evil.example 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=there)
        page = browser.new_context().new_page()
        page.goto(prefect.link(f"{prefect.page}/deployments"), timeout=WAIT_MS)
        page.get_by_text("victim").first.wait_for(timeout=WAIT_MS)
        assert page.context.cookies(prefect.page) and prefect.token not in page.url
        assert len(page.evaluate(_ATTACK, [f"{prefect.page}/api", NOBODY])) >= 8  # the page itself may do all that
        port = evil.server_port
        for site in (f"http://www.evil.example:{port}", f"http://127.0.0.1:{port}", f"http://localhost:{port}",
                     f"http://{prefect.host}:{port}"):  # fmt: skip
            page.goto(site)
            for api in (f"{prefect.page}/api", f"{prefect.url}/api"):
                assert page.evaluate(_ATTACK, [api, deployment]) == [], (site, api)
        rebound = page.goto(f"http://rebound.evil.example:{prefect.port}/")
        assert rebound is not None and rebound.status == 421
        assert untouched(prefect, deployment)
        told = [each for each in evil.told if prefect.host not in each]
        assert len(told) >= 3 and not [each for each in told if "cookie" in each.lower()]
        browser.close()
        evil.shutdown()


def as_another_user(code: str) -> str:
    """What Python says when uid 65534 runs it."""
    command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", sys.executable, "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


_ASK = """
import json, urllib.error, urllib.request
for method, url, body in {asked!r}:
    headers = {{"Content-Type": "application/json", "Origin": url[:url.index("/", 8)]}}
    try:
        urllib.request.urlopen(urllib.request.Request(url, body, headers, method=method))
        print("in", url)
    except urllib.error.HTTPError as error:
        print(error.code)
"""


@needs_root
@pytest.mark.slow
def test_another_user_is_asked_for_the_key_by_both_servers(
    prefect: local.Server, deployment: str, workspace: Workspace
) -> None:
    prepare_embedded(workspace.var)
    servers.start_mlflow_page(workspace)
    mlflow = local.running(workspace, "mlflow")
    assert mlflow is not None
    make, place = b'{"name": "x", "artifact_location": "file:///tmp/x"}', "mlflow-artifacts/artifacts/1/m/served.py"
    asked = [
        ("POST", f"{prefect.url}/api/deployments/filter", b"{}"),
        ("PATCH", f"{prefect.url}/api/deployments/{deployment}", b'{"pull_steps": [{"x": {}}]}'),
        ("POST", f"{prefect.url}/api/deployments/{deployment}/create_flow_run", b"{}"),
        ("GET", f"{prefect.url}/api/health", None),
        ("POST", f"{mlflow.url}/api/2.0/mlflow/experiments/create", make),
        ("GET", f"{mlflow.url}/get-artifact?run_uuid=1&path=id_rsa", None),
        ("POST", f"{mlflow.url}/ajax-api/2.0/mlflow/upload-artifact?run_uuid=1&path=.bashrc", b"x"),
        ("PUT", f"{mlflow.url}/api/2.0/{place}", b"x"),
        ("POST", f"{mlflow.url}/api/2.0/mlflow/webhooks", b"{}"),
        ("GET", f"{mlflow.url}/health", None),
    ]
    assert as_another_user(_ASK.format(asked=asked)).split() == ["401"] * len(asked)
    assert untouched(prefect, deployment)
    assert not mlflow.healthy("/health")  # nothing of it loaded MLflow


def test_what_a_workspace_keeps_is_its_owners(tmp_path: Path) -> None:
    """Also what an earlier version made for everybody; whoever else may read."""
    os.umask(mask := os.umask(0o022))
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "params.yaml").touch()
    kept = ("var/mlflow/mlflow.db", "data/indexes/vault/raw/examples.parquet", ".dvc/cache/files/md5/00/00")
    for name in kept:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("SECRETSALARY")
    find_workspace(tmp_path)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("var", "data", ".dvc")] == [0o700] * 3
    assert mask & 0o777 == mask
    if os.geteuid() == 0:
        for above in (tmp_path, *tmp_path.parents[:-2]):
            above.chmod(above.stat().st_mode | 0o055)
        look = "import os; print([os.path.exists(p) or os.access(p, os.R_OK) for p in {!r}])"
        seen = as_another_user(look.format([str(tmp_path / "dvc.yaml"), *(str(tmp_path / name) for name in kept)]))
        assert seen == "[True, False, False, False]"
    shutil.rmtree(tmp_path / "var")
    find_workspace(tmp_path)
    assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o700


def test_a_server_is_believed_while_its_own_process_listens(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a squatter on a port that was announced, nor a record of an earlier version or of somebody else's process."""
    for place in ("serves", "works_in"):  # where this process works is another matter
        monkeypatch.setattr(local.Server, place, lambda server, folder: True)
    ours = bound()
    server = new_server("prefect", ours[0].getsockname()[1])
    local.announce(workspace, "prefect", server)
    assert stat.S_IMODE(local.record(workspace, "prefect").stat().st_mode) == 0o600
    assert local.running(workspace, "prefect") == server
    other = subprocess.Popen(["sleep", "60"])
    created = psutil.Process(other.pid).create_time()
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        lies = [
            replace(server, pid=other.pid, created=created),  # it lives, and the port is another process's
            replace(server, created=server.created - 5),
            replace(server, port=1),
            replace(server, key=""),  # an earlier version's: it asks nobody for a key
        ]
        for lie in lies:
            local.announce(workspace, "prefect", lie)
            assert servers.pages(workspace) == {} and servers.prefect_running(workspace) is None
            assert servers.link(workspace, lie.page) == lie.page
        assert local.running(workspace, "prefect") is None
        assert elsewhere.getsockname()[1] != server.port
    other.kill()
    other.wait()
    for each in ours:
        each.close()
    local.announce(workspace, "prefect", server)
    assert local.running(workspace, "prefect") is None  # it lives, and let its port go
    local.record(workspace, "prefect").unlink()


@pytest.mark.slow
def test_a_server_of_an_earlier_version_is_ended_and_replaced(workspace: Workspace) -> None:
    """It would go on letting everybody in."""
    prepare_embedded(workspace.var)
    works_in = workspace.var / "mlflow"
    works_in.mkdir(exist_ok=True)
    old = subprocess.Popen(["sleep", "600"], cwd=works_in)
    told = {"pid": old.pid, "created": psutil.Process(old.pid).create_time(), "port": 4200}
    local.record(workspace, "mlflow").parent.mkdir()
    local.record(workspace, "mlflow").write_text(json.dumps(told))
    servers.start_mlflow_page(workspace)
    new = local.running(workspace, "mlflow")
    assert new is not None and new.key and new.port != 4200
    assert not psutil.pid_exists(old.pid)
    assert stat.S_IMODE(local.record(workspace, "mlflow").stat().st_mode) == 0o600
    shown = " ".join(psutil.Process(new.pid).cmdline())
    assert "flows.servers.gateway mlflow" in shown
    assert not [each for each in (new.key, new.token, new.host) if each in shown]


def test_links_open_pages_and_are_no_addresses() -> None:
    server = local.Server(1, 1.0, 4200, "prefect-1.localhost", "k", "t")
    page = server.page
    assert server.link(page) == f"{page}/?token=t"
    assert server.link(f"{page}/runs/flow-run/1") == f"{page}/runs/flow-run/1?token=t"
    assert server.link(f"{page}/#/models/a") == f"{page}/?token=t#/models/a"
    assert server.link(f"{page}/x?y=1") == f"{page}/x?y=1&token=t"
    for other in ("https://mlflow.example.org", f"{page}0/", f"{page}.evil.example/", "http://127.0.0.1:4200"):
        assert server.link(other) == other


def test_a_run_chooses_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import inspect

    from flows.schedule.scheduled_flow import WORKSPACE, scheduled

    assert list(inspect.signature(scheduled.fn).parameters) == ["kind", "name", "commit", "push"]
    tiny, evil = make_tiny_graph(tmp_path / "w"), make_tiny_graph(tmp_path / "evil", indexes=("planted",))
    monkeypatch.chdir(evil.root)
    monkeypatch.delenv(WORKSPACE, raising=False)
    with pytest.raises(BadRequest, match="HEADRACE_WORKSPACE is not set"):
        scheduled.fn("recipe", "a")
    monkeypatch.setenv(WORKSPACE, str(tiny.root))
    for name in ("planted", "../evil", ""):
        with pytest.raises(BadRequest, match="no live index"):
            scheduled.fn("index", name)
    assert not (evil.root / "data").exists() and not evil.notes("began")


@pytest.mark.slow
def test_steps_that_somebody_planted_are_gone_at_the_next_start(prefect: local.Server, tmp_path: Path) -> None:
    """An update of a deployment keeps its steps, and they would be run before the flow."""
    tiny = make_tiny_graph(tmp_path / "w", recipes=("planted",))
    flow = asked(prefect, "POST", "/api/flows/", {"name": "headrace-scheduled"})
    steps = [{"prefect.deployments.steps.run_shell_script": {"script": "touch pwned"}}]
    about = {"name": "recipe-planted", "flow_id": flow["id"], "pull_steps": steps}
    found = asked(prefect, "POST", "/api/deployments/", about)["id"]
    job = tiny.workspace.job("recipe", "planted")
    with servers.prefect_settings(tiny.workspace, os.environ["PREFECT_API_URL"]):
        from prefect.client.orchestration import get_client

        from flows.schedule.scheduled_flow import delete_altered

        with get_client(sync_client=True) as client:
            delete_altered(client, [job])
            delete_altered(client, [job])
    with pytest.raises(urllib.error.HTTPError, match="404"):
        asked(prefect, "GET", f"/api/deployments/{found}")


@pytest.mark.slow
def test_prefects_and_mlflows_own_commands_work(prefect: local.Server, deployment: str) -> None:
    """As docs/reliability.md says; Prefect's by the profile that each start of the server writes."""
    place = prefect_place()
    prepare_embedded(place.var)
    bare = {name: value for name, value in os.environ.items() if name not in with_server()}
    profiles = place.var / "prefect" / "profiles.toml"
    assert stat.S_IMODE(profiles.stat().st_mode) == 0o600 and prefect.key in profiles.read_text()
    store = f"sqlite:///{place.var}/mlflow/mlflow.db"
    for module, arguments, env, said in (
        ("prefect", ["deployment", "inspect", "attacked/victim"], {"PREFECT_HOME": str(profiles.parent)}, deployment),
        ("mlflow", ["experiments", "search"], {"MLFLOW_TRACKING_URI": store}, "Default"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            capture_output=True, text=True, cwd=place.root, env={**bare, **env}, timeout=120,
        )  # fmt: skip
        assert said in done.stdout, done.stderr
    assert asdict(prefect)["key"] not in str(psutil.Process(prefect.pid).cmdline())
