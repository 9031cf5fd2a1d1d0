"""`headrace serve` as a process, over HTTP, beside a real registry: champions change and everybody gets an answer."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from pipelines.tasks import find_task
from registry.promotion import promotion
from registry.store import versions
from registry.store.connection import connect, database, exclusive
from registry.version import register_version
from tests.conftest import Workspace, film_rows, make_workspace
from tests.small_model import candidate, make_small_model, trusting
from tests.test_promotion import flipped
from tests.tiny_graph import until
from tests.warm import warm

pytestmark = pytest.mark.slow

PREDICTIONS = int(os.environ.get("SERVING_PREDICTIONS", "1000"))  # 10,000 with ten switches take minutes
SWITCHES = int(os.environ.get("SERVING_SWITCHES", "3"))
CLIENTS = int(os.environ.get("SERVING_CLIENTS", "8"))  # so many that their requests are computed together
MODEL = "films"
WELL = {"ready": True, "models": {MODEL: "1"}, "indexes": {}, "faults": {}, "registry": None}
TEXTS = [row["text"] for row in film_rows(12)]
AWAY = "http://127.0.0.1:9"

Said = Mapping[str, list[tuple[str, float]]]  # version -> label and confidence of each of TEXTS


@dataclass(frozen=True)
class Server:
    """`headrace serve` in a workspace."""

    process: subprocess.Popen[str]
    url: str
    told: Mapping[str, Any]
    log: Path

    def post(self, inputs: list[str], model: str = MODEL) -> httpx.Response:
        return httpx.post(f"{self.url}/models/{model}/predict", json={"inputs": inputs}, timeout=60)

    def ready(self) -> tuple[int, dict[str, Any]]:
        answer = httpx.get(f"{self.url}/ready", timeout=60)
        return answer.status_code, answer.json()

    def lines(self, words: str) -> list[str]:
        """What it said on stderr with these words in it."""
        return [line for line in self.log.read_text().splitlines() if words in line]

    def answers(self) -> str:
        """The version that answers now."""
        version: str = self.post(TEXTS[:1]).json()["version"]
        return version


@contextmanager
def serving(workspace: Workspace, *arguments: str, **env: str) -> Iterator[Server]:
    """Its stderr is a terminal, as a person has it, whose text is kept in a file."""
    log = workspace.root.parent / f"serve-{time.monotonic_ns()}.log"
    log.touch()
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "serve", "--json", *arguments],
        cwd=workspace.root, env=warm({**workspace.env, **env}), stdout=subprocess.PIPE, stderr=terminal, text=True,
    )  # fmt: skip
    os.close(terminal)
    threading.Thread(target=keep, args=(master, log), daemon=True).start()
    try:
        assert process.stdout is not None
        document = "".join(iter(process.stdout.readline, "}\n")) + "}"
        told = json.loads(document) if process.poll() is None else pytest.fail(log.read_text())
        yield Server(process, told["url"], told, log)
    finally:
        process.kill()
        process.wait(timeout=60)


def keep(terminal: int, log: Path) -> None:
    """Append what a terminal shows until nobody writes to it any more."""
    with log.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while shown := os.read(terminal, 65536):
            file.write(shown)
    os.close(terminal)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models of different weights."""
    folder = tmp_path_factory.mktemp("models")
    return [make_small_model(folder / str(seed), seed=seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, models: list[Path]) -> Workspace:
    """A workspace whose registry holds them as versions 1, 2 and 3 of `films`; 1 is champion."""
    folder = tmp_path_factory.mktemp("serving")
    made = make_workspace(folder / "workspace")
    (folder / "evidence").mkdir()
    for model in models:
        subject = replace(candidate(model, folder / "evidence", promote=False), name=MODEL)
        with exclusive(made.path("var")):
            register_version.register(subject, made.path("var"))
    champion_is(made, "1")
    return made


@pytest.fixture(scope="module")
def server(home: Workspace) -> Iterator[Server]:
    """One for all tests that end as they began: with version 1 as champion, and well."""
    with serving(home) as started:
        yield started


@pytest.fixture(scope="module")
def said(models: list[Path]) -> Said:
    """What the task itself says with each version's files."""
    found = {}
    for number, model in enumerate(models, start=1):
        predictor = find_task("text_classification").load(model)
        answers = predictor.answers(predictor.predict(pd.DataFrame({"text": TEXTS})))
        found[str(number)] = list(zip(answers["label"], answers["confidence"].astype(float), strict=True))
    for one, other in itertools.combinations(found.values(), 2):  # or an answer would not tell its version
        assert all(a[0] != b[0] or abs(a[1] - b[1]) > 5e-4 for a, b in zip(one, other, strict=True))
    return found


def champion_is(home: Workspace, version: str) -> None:
    promotion.promote(MODEL, version, home.path("var"), trusting)


def wrong(text: str, document: Mapping[str, Any], said: Said) -> bool:
    """Whether an answer is not what the version that it names says about the text."""
    [answer] = document["answers"]
    label, confidence = said[document["version"]][TEXTS.index(text)]
    return bool(answer["label"] != label or abs(answer["confidence"] - confidence) > 1e-5)


def ask(url: str, over: threading.Event, answers: list[tuple[str, int, dict[str, Any]]]) -> None:
    """One client after another's answer, until it is over."""
    with httpx.Client(base_url=url, timeout=60) as client:
        for text in itertools.cycle(TEXTS):
            if over.is_set():
                return
            response = client.post(f"/models/{MODEL}/predict", json={"inputs": [text]})
            answers.append((text, response.status_code, response.json()))


def test_champions_change_and_every_answer_is_of_the_version_that_it_names(
    home: Workspace, server: Server, said: Said
) -> None:
    seen: list[list[tuple[str, int, dict[str, Any]]]] = [[] for _ in range(CLIENTS)]
    order = [str(1 + number % 3) for number in range(SWITCHES + 1)]
    over = threading.Event()

    def answered(count: int) -> bool:
        return sum(map(len, seen)) >= count

    def met(version: str) -> bool:
        return all(answers and answers[-1][2].get("version") == version for answers in seen)

    started = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as clients:
        futures: list[Future[None]] = [clients.submit(ask, server.url, over, answers) for answers in seen]
        try:
            for number, version in enumerate(order):
                champion_is(home, version)  # at first it is already
                share = PREDICTIONS * (number + 1) // len(order)
                until(partial(met, version))
                until(partial(answered, share), timeout_s=500)
        finally:
            over.set()
        for future in futures:
            future.result()
    took_s = time.monotonic() - started
    print(f"{sum(map(len, seen)):,} predictions, {SWITCHES} switches, {took_s:.1f} s")
    champion_is(home, "1")
    assert answered(PREDICTIONS)
    assert [answer for answers in seen for answer in answers if answer[1] != 200] == []
    assert [answer for answers in seen for answer in answers if wrong(answer[0], answer[2], said)] == []
    for answers in seen:  # and nobody met a version again that was gone
        assert [version for version, _ in itertools.groupby(each[2]["version"] for each in answers)] == order
    until(lambda: server.answers() == "1")


def test_it_says_what_is_served(server: Server) -> None:
    assert server.told["models"] == {MODEL: "1"}
    assert server.url.startswith("http://127.0.0.1:")
    until(lambda: server.answers() == "1")
    [model] = httpx.get(f"{server.url}/models").json()["models"]
    assert (model["name"], model["version"]) == (MODEL, "1")
    assert model["since"] < pd.Timestamp.now("UTC").isoformat()
    assert httpx.get(f"{server.url}/health").json() == {"alive": True}
    assert server.ready() == (200, WELL)


def test_a_damaged_new_champion_leaves_the_old_one_answering(home: Workspace, server: Server, said: Said) -> None:
    until(lambda: server.answers() == "1")
    var = home.path("var")
    weights = versions.packed_folder(versions.resolve(MODEL, "3", var), var) / versions.MODEL_FILES
    with flipped(weights / "model.safetensors"):
        champion_is(home, "3")
        until(lambda: server.ready()[1]["faults"])
        code, told = server.ready()
        assert (code, told["models"]) == (200, {MODEL: "1"})
        assert "films/3 is not used: model.safetensors is not what its manifest says" in told["faults"][MODEL]
        answer = server.post(TEXTS[:1]).json()
        assert answer["version"] == "1" and not wrong(TEXTS[0], answer, said)
        time.sleep(3)  # three looks
        [line] = server.lines("films/3 is not used")
        assert line.endswith("Until then version 1 goes on answering.")
    until(lambda: server.answers() == "3")  # the file is whole again
    assert server.ready()[1]["faults"] == {}
    champion_is(home, "1")
    until(lambda: server.answers() == "1")


def test_a_registry_that_is_away_leaves_the_last_champion_answering(home: Workspace, server: Server) -> None:
    until(lambda: server.answers() == "1")
    file = database(home.path("var"))
    aside = file.with_name("aside.db")
    file.rename(aside)
    try:
        file.write_bytes(b"no database" * 500)
        until(lambda: server.ready()[1]["registry"] is not None)
        code, told = server.ready()
        assert (code, told["models"]) == (200, {MODEL: "1"})
        assert "mlflow.db cannot be read" in told["registry"]
        assert server.answers() == "1"
        time.sleep(3)
        assert len(server.lines("the registry is away")) == 1
        assert "\x1b" not in server.log.read_text()  # nothing is drawn
        file.unlink()
        until(lambda: MODEL in server.ready()[1]["faults"])  # a store that is gone holds no model
        assert server.answers() == "1"
    finally:
        aside.replace(file)
    until(lambda: server.ready() == (200, WELL))
    champion_is(home, "2")
    until(lambda: server.answers() == "2")
    champion_is(home, "1")
    until(lambda: server.answers() == "1")


def test_an_alias_that_somebody_moved_without_evidence_never_answers(home: Workspace, server: Server) -> None:
    client = connect(home.path("var"))
    until(lambda: server.answers() == "1")
    client.set_registered_model_alias(MODEL, "champion", "2")
    met = set()
    while versions.raw_champion(client, MODEL) == "2":
        met.add(server.answers())
    assert met | {server.answers()} == {"1"}
    [line] = server.lines("was made champion in MLflow, and refused")
    assert "it has no evidence" in line


def test_a_port_in_use_is_one_message(home: Workspace, server: Server) -> None:
    port = server.url.rpartition(":")[2]
    done = home.headrace("serve", "--port", port)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"headrace: port {port} of 127.0.0.1 is in use. Name another one with --port, or leave it out to get a free "
        "one.\n"
    )
    assert home.headrace("serve", "--port", "70000").stderr.startswith("headrace: --port 70000: allowed is 0 ")


def test_a_model_that_is_not_there_is_one_message(home: Workspace) -> None:
    done = home.headrace("serve", "flims")
    assert done.returncode == 2
    assert done.stderr == ("headrace: no model 'flims' with a version in the store in var/mlflow. Registered: films.\n")


def test_told_to_end_it_answers_what_is_in_flight(home: Workspace, said: Said) -> None:
    body = json.dumps({"inputs": TEXTS}).encode()
    with serving(home, MODEL) as server, socket.create_connection(("127.0.0.1", port := _port(server))) as begun:
        head = f"POST /models/{MODEL}/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        begun.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:20])
        httpx.get(f"{server.url}/health")  # came later and was answered: so the first one is being read
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not _accepts(port))
        begun.sendall(body[20:])
        answer = b"".join(iter(lambda: begun.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK"), answer
        document = json.loads(answer.partition(b"\r\n\r\n")[2])
        labels = [label for label, _ in said["1"]]
        assert [one["label"] for one in document["answers"]] == labels
        assert server.process.wait(timeout=60) == 0, server.log.read_text()
        assert "Traceback" not in server.log.read_text()


def test_it_starts_while_the_registry_is_away_and_says_so(home: Workspace) -> None:
    with serving(home, MODEL, MLFLOW_TRACKING_URI=AWAY) as server:
        assert server.told["models"] == {}
        code, told = server.ready()
        assert (code, told["ready"], told["models"]) == (503, False, {})
        assert "http://127.0.0.1:9 (MLFLOW_TRACKING_URI) does not answer" in told["registry"]
        refused = server.post(TEXTS)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert "films cannot be served for now: " in refused.json()["detail"]
        assert httpx.get(f"{server.url}/health").status_code == 200
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(timeout=120) == 0
        assert len(server.lines("the registry is away")) == 1


def _port(server: Server) -> int:
    return int(server.url.rpartition(":")[2])


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True
