"""Who is told, through Apprise and a real HTTP server: one message a cause, no secret said."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from core.errors import GATE_REFUSED
from core.workspace import Workspace
from flows.graph.plan import INTERRUPTED, Outcome, StageOutcome
from flows.reporting import notices
from tests.tiny_graph import make_tiny_graph


class Inbox:
    """Messages that a webhook got, and whether it takes any."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    found = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv(notices.VARIABLE, f"json://ann:geheim@127.0.0.1:{server.server_port}/hook")
        yield found
        server.shutdown()


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def failed(message: str) -> Outcome:
    stages = [StageOutcome("collect@films", "ran"), StageOutcome("train@films", "failed", 1.0, 1, message)]
    return Outcome(stages, 1, links={"run": "http://127.0.0.1:4200/runs/flow-run/1"})


WELL = Outcome([StageOutcome("train@films", "ran")], 0)


def test_a_failure_says_what_why_and_where_to_look(inbox: Inbox, place: Workspace) -> None:
    notices.tell_outcome(place, "recipe", ["films"], failed("the loss is nan at step 3"))
    [message] = inbox.messages
    assert message["title"] == "Headrace: recipe films failed"
    assert "train@films: the loss is nan at step 3" in message["message"]
    assert "headrace status films" in message["message"]
    assert "/runs/flow-run/1" in message["message"]


def test_one_cause_is_told_once_until_it_is_well_again(inbox: Inbox, place: Workspace) -> None:
    for step in range(5):  # numbers that vary are no other cause
        notices.tell_outcome(place, "recipe", ["films"], failed(f"the loss is nan at step {step}"))
    assert len(inbox.messages) == 1
    notices.tell_outcome(place, "recipe", ["films"], failed("no space left"))
    assert len(inbox.messages) == 2
    notices.tell_outcome(place, "recipe", ["films"], WELL)
    assert len(inbox.messages) == 2
    notices.tell_outcome(place, "recipe", ["films"], failed("no space left"))
    assert len(inbox.messages) == 3


def test_a_cause_that_lasts_is_told_again_after_a_week_with_its_number(
    inbox: Inbox, place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_790_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    for _ in range(9):  # nightly
        notices.tell_outcome(place, "recipe", ["films"], failed("no space left"))
        now += 24 * 3600
    assert len(inbox.messages) == 2
    assert "It has happened 8 times since 2026-09-" in inbox.messages[1]["message"]


def test_a_refusal_is_told_and_an_end_by_hand_is_not(inbox: Inbox, place: Workspace) -> None:
    refused = Outcome([StageOutcome("train@films", "ran")], GATE_REFUSED, refused={"films": ["accuracy 0.7 < 0.8"]})
    notices.tell_outcome(place, "recipe", ["films"], refused)
    assert inbox.messages[0]["title"] == "Headrace: recipe films was refused by its gates"
    notices.tell_outcome(place, "recipe", ["films"], Outcome([StageOutcome("a@films", "cancelled")], INTERRUPTED))
    assert len(inbox.messages) == 1


def test_a_message_that_did_not_go_is_tried_again_and_no_secret_is_said(
    inbox: Inbox, place: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    inbox.status = 500
    notices.tell_outcome(place, "recipe", ["films"], failed("no space left"))
    said = capfd.readouterr()
    assert "took no message; nobody was told" in said.err
    assert "geheim" not in said.out + said.err
    inbox.status = 200
    notices.tell_outcome(place, "recipe", ["films"], failed("no space left"))
    assert len(inbox.messages) == 2


def test_what_is_no_address_is_said_and_stops_nothing(
    place: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(notices.VARIABLE, "nonsense-geheim")
    notices.tell_outcome(place, "recipe", ["films"], failed("no space left"))
    said = capfd.readouterr()
    assert said.err == "HEADRACE_NOTIFY_URL is no address that Apprise knows; nobody was told.\n"


@pytest.mark.slow
def test_a_real_run_tells(inbox: Inbox, tmp_path: Path) -> None:
    tiny = make_tiny_graph(tmp_path / "w")
    tiny.order("left@a", exit=3)
    process = tiny.start_run("a", forked=True)
    process.communicate(timeout=120)
    assert process.returncode == 3
    assert [message["title"] for message in inbox.messages] == ["Headrace: recipe a failed"]
    assert "left@a" in inbox.messages[0]["message"]
    assert "token=" not in inbox.messages[0]["message"]  # it leaves this machine, and the link opens the page
