"""Who may ask: keys by their hash, rights, pace, and what pages of other sites are told."""

from __future__ import annotations

import re
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from core.errors import BadRequest
from core.workspace import Job, Workspace
from flows.terminal.results import served_lines
from serving.http.api_keys import ANYBODY, OPERATOR, Keys, key_file, made_up, new_key
from serving.server import Callers, _hosts, _keys, _warn
from tests.served_index import app_of, client_of, key_of, keys_of
from tests.small_index import make as make_small


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """An index that is not published: enough for whoever is not let in."""
    return make_small(tmp_path, {"a": "A text."})


def test_while_there_is_no_key_this_machine_is_its_operator(job: Job) -> None:
    assert client_of(app_of(job)).get("/indexes").json() == {"indexes": []}


def test_with_a_key_file_only_its_keys_open(job: Job) -> None:
    app = app_of(job)
    key = key_of(job, "ada", "hr")
    for wrong in (None, "", "hr_", key[:-1], key.upper(), "ключ"):
        refused = client_of(app).get(
            "/indexes", headers={b"Authorization": f"Bearer {wrong}".encode()} if wrong else {}
        )
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert "Authorization: Bearer KEY" in refused.json()["detail"]
        assert wrong is None or len(wrong) < 4 or wrong not in refused.text
    assert client_of(app, key).get("/indexes").status_code == 200
    assert [client_of(app).get(path).status_code for path in ("/", "/health", "/openapi.json")] == [200, 200, 200]


def test_the_file_holds_no_key_and_is_its_owners_alone(job: Job) -> None:
    key = key_of(job, "ada", "hr")
    file = job.workspace.var / "keys.yaml"
    assert key not in file.read_text() and "ada" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keys_of(job).caller(key).access == frozenset({"hr"})
    assert keys_of(job).caller(key_of(job, "root", sees_everything=True)).access is None
    assert keys_of(job).caller(key).name == "ada"


def test_a_key_that_is_taken_out_opens_nothing_from_then_on(job: Job) -> None:
    app, one, two = app_of(job), key_of(job, "one"), key_of(job, "two")
    file = job.workspace.var / "keys.yaml"
    assert client_of(app, one).get("/indexes").status_code == 200
    file.unlink()
    assert client_of(app, one).get("/indexes").status_code == 401  # and not everybody
    assert client_of(app).get("/indexes").status_code == 401
    three = key_of(job, "three")
    assert [client_of(app, key).get("/indexes").status_code for key in (one, two, three)] == [401, 401, 200]
    file.write_text("keys: {bad: 1}\n")
    assert client_of(app, three).get("/indexes").status_code == 503


@pytest.mark.parametrize(
    ("rights", "path", "status"),
    [
        (["answer"], "/indexes", 403), (["search"], "/indexes", 200), (["search"], "/metrics", 403),
        (["metrics"], "/metrics", 200), (["search"], "/models", 403), (["predict"], "/models", 200),
    ],
)  # fmt: skip
def test_a_key_opens_what_it_has_a_right_to(job: Job, rights: Sequence[str], path: str, status: int) -> None:
    done = client_of(app_of(job), key_of(job, "ada", rights=rights)).get(path)
    assert done.status_code == status
    assert status == 200 or "this key has no right to" in done.json()["detail"]


def test_who_asks_too_often_is_told_when_to_come_back(job: Job) -> None:
    now = [0.0]
    keys = keys_of(job, clock=lambda: now[0])
    fast, slow = key_of(job, "fast"), key_of(job, "slow", requests_per_minute=12)
    app = app_of(job, keys)
    assert [client_of(app, slow).get("/indexes").status_code for _ in range(3)] == [200, 200, 429]
    refused = client_of(app, slow).get("/indexes")
    assert refused.headers["Retry-After"] == "5"
    assert "too many requests with this key" in refused.json()["detail"]
    assert client_of(app, fast).get("/indexes").status_code == 200
    now[0] = 5.0
    assert client_of(app, slow).get("/indexes").status_code == 200
    with pytest.raises(HTTPException, match="Ask again in 5"):
        keys.caller(slow)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Host": "localhost:8000"}, 200),
        ({"Host": "[::1]:8000"}, 200),
        ({"Host": "evil.example:8000"}, 421),  # a name that was made to point at this machine
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Origin": "http://127.0.0.1:8000"}, 200),
        ({"Origin": "http://127.0.0.1:9000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
def test_a_page_of_another_site_may_not_ask(job: Job, headers: dict[str, str], status: int) -> None:
    done = client_of(app_of(job)).get("/indexes", headers=headers)
    assert done.status_code == status


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_link_from_elsewhere_opens_a_page(job: Job, path: str) -> None:
    key_of(job, "ada")  # without which a page opens all the same
    client: TestClient = client_of(app_of(job))
    opened = client.get(path, headers={"Sec-Fetch-Site": "cross-site"})
    assert opened.status_code == 200
    policy = opened.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
    for part in re.findall(r'(?:src|href)="([^":]+\.(?:js|css))"', opened.text):
        assert client.get(f"/{part}").status_code == 200
        assert client.get(f"/{part}", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_other_machines_ask_with_keys_or_not_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.yaml"
    operators = _keys(file, "127.0.0.1", Callers())
    assert operators.without is OPERATOR
    _warn(operators, "127.0.0.1")
    assert "every user of this machine is the operator here" in capsys.readouterr().err
    with pytest.raises(BadRequest, match=r"--host 0\.0\.0\.0 can be reached .* and there are no keys"):
        _keys(file, "0.0.0.0", Callers())
    assert _keys(file, "0.0.0.0", Callers(without_keys=True)).without is ANYBODY
    assert ANYBODY.access == frozenset() and "write" not in ANYBODY.rights
    new_key(file, "ada", [], ["search"])
    with pytest.raises(HTTPException, match="wants a key"):
        _keys(file, "0.0.0.0", Callers(without_keys=True)).caller(None)
    file.write_text("keys: {ada: {sha256: short, labels: [], rights: [reading]}}\n")
    with pytest.raises(BadRequest, match=r"keys\.ada\.sha256"):
        _keys(file, "127.0.0.1", Callers())


def test_a_key_of_this_run_is_its_operator_s(job: Job) -> None:
    """In memory only: another user of the machine is let in no more than another machine."""
    file, key = job.workspace.var / "keys.yaml", made_up()
    keys = _keys(file, "127.0.0.1", Callers(session_key=key))
    app = app_of(job, keys)
    assert [client_of(app, each).get("/metrics").status_code for each in (key, None, key[:-1])] == [200, 401, 401]
    assert client_of(app).get("/").status_code == 200
    assert keys.caller(key) is OPERATOR and not file.exists() and key not in repr(keys)
    assert client_of(app, key_of(job, "ada")).get("/indexes").status_code == 200  # beside those of the file
    with pytest.raises(BadRequest, match="--session-key makes a key, and --without-keys wants none"):
        _keys(file, "0.0.0.0", Callers(without_keys=True, session_key=key))
    lines = list(served_lines("http://127.0.0.1:1", {}, {}, key))
    assert lines[-1] == f"http://127.0.0.1:1/#key={key}   Ctrl-C ends it"


@pytest.mark.parametrize(
    ("at", "host", "status"),
    [
        ("192.0.2.2:8792", "192.0.2.2:8792", 200), ("192.0.2.2:8792", "Mill.Example.ORG.:8792", 200),
        ("192.0.2.2:8792", f"{socket.gethostname()}:8792", 200), ("[2001:db8::2]:80", "[2001:DB8:0::2]", 200),
        ("192.0.2.2:8792", "localhost:8792", 421), ("192.0.2.2:8792", "127.0.0.1", 421),
        ("192.0.2.2:8792", "evil.example:8792", 421), ("192.0.2.2:8792", "192.0.2.3", 421),
        ("192.0.2.2:8792", "192.0.2.2.evil.example", 421), ("192.0.2.2:8792", "", 421),
        ("127.0.0.1:8792", "localhost:8792", 200), ("127.0.0.1:8792", "evil.example", 421),
    ],
)  # fmt: skip
def test_without_keys_others_ask_by_this_machine_s_address_or_name(job: Job, at: str, host: str, status: int) -> None:
    """It refused its own address, and took `localhost` from whoever wrote it."""
    keys = _keys(job.workspace.var / "keys.yaml", "0.0.0.0", Callers(without_keys=True))
    app = app_of(job, keys, hosts=_hosts(keys, ["mill.example.org"]))
    done = client_of(app, base_url=f"http://{at}").get("/indexes", headers={"Host": host})
    assert done.status_code == status
    assert status == 200 or "--allowed-host" in done.json()["detail"]


def test_on_loopback_the_machine_s_name_is_none_of_its_own(job: Job) -> None:
    keys = keys_of(job)
    assert _hosts(keys, ["Mill.test"]) == {"mill.test"}
    app = app_of(job, keys, hosts=_hosts(keys, ["mill.test"]))
    hosts = ("mill.test", "localhost", socket.gethostname(), "127.0.0.1.evil.example")
    done = [client_of(app).get("/indexes", headers={"Host": host}).status_code for host in hosts]
    assert done == [200, 200, 421, 421]


def test_ready_names_nothing_to_who_shows_no_key(job: Job) -> None:
    anybody = _keys(job.workspace.var / "keys.yaml", "0.0.0.0", Callers(without_keys=True))
    assert client_of(app_of(job, anybody)).get("/ready").json() == {"ready": False}
    assert client_of(app_of(job)).get("/ready").json().keys() > {"faults", "indexes"}  # this machine's operator
    app, key = app_of(job), key_of(job, "ada", rights=["search"])
    assert client_of(app).get("/ready").json() == {"ready": False}
    assert client_of(app, key).get("/ready").json().keys() > {"faults", "indexes"}
    assert client_of(app, key[:-1]).get("/ready").status_code == 401
    assert client_of(app).get("/health").json() == {"alive": True}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "a b"}, "'a b' cannot be the name of a key"),
        ({"labels": ["two words"]}, "labels"),
        ({"rights": ["everything"]}, "rights"),
        ({"name": "ada"}, "has a key 'ada' already"),
    ],
)
def test_a_key_that_cannot_be_made_changes_nothing(tmp_path: Path, options: dict[str, object], says: str) -> None:
    file = tmp_path / "keys.yaml"
    new_key(file, "ada", [], ["search"])
    before = file.read_bytes()
    with pytest.raises(BadRequest, match=says) as error:
        new_key(file, **{"name": "new", "labels": [], "rights": ["search"], **options})  # type: ignore[arg-type]
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]
    assert ".keys.yaml" not in str(error.value)


def test_the_key_file_may_stand_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert key_file(Workspace(tmp_path)) == tmp_path / "var" / "keys.yaml"
    monkeypatch.setenv("HEADRACE_KEYS", "/run/secrets/keys.yaml")
    assert key_file(Workspace(tmp_path)) == Path("/run/secrets/keys.yaml")
    assert Keys(Path("/none"), None).needed
