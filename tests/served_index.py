"""The small index as `headrace serve` serves it: documents in a folder, some for holders of a label alone."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from core.workspace import Job
from serving.app import make_app
from serving.http.api_keys import OPERATOR, RIGHTS, Keys, new_key
from serving.http.threads import Workers
from serving.indexes.indexes import Indexes
from serving.indexes.update_runs import Updates
from serving.models.champions import Champions
from serving.server import _listening, _url, configured
from tests import small_index
from tests.small_model import trusting

HERE = "http://127.0.0.1:8000"
DOCUMENTS = {
    "news/flood.md": f"# The flood\n\n{small_index.STORY}",
    "news/fire.md": "# The fire\n\nThe barn burned down in March. Three firefighters rescued the horses.",
    "notes/market.txt": "Prices of wheat fell by a tenth at the Monday market, and barley was not sold at all.",
    "hr/salaries.txt": "Salaries of all millers rise by three percent in April, as the board decided in the night.",
}
LABELS = {"hr/*": ["hr"]}


def make(root: Path, documents: Mapping[str, str] = DOCUMENTS, labels: Mapping[str, Sequence[str]] = LABELS) -> Job:
    """The index `small`, built from the folder `documents`."""
    job = small_index.make(root, documents)
    small_index.settings(
        job,
        data={"source": "documents", "reader": "folders", "encoding": "utf-8"},
        access={"labels": labels, "others": []},
        search=small_index.HYBRID,
    )
    for name, text in documents.items():
        file = root / "documents" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    small_index.build(job)
    return job


def keys_of(job: Job, **options: Any) -> Keys:
    return Keys(job.workspace.var / "keys.yaml", OPERATOR, **options)


def app_of(
    job: Job, keys: Keys | None = None, workers: Workers | None = None, hosts: frozenset[str] = frozenset(),
    updates: Updates | None = None,
) -> FastAPI:  # fmt: skip
    """Serves the job's workspace; it has no model. Without `updates` an index has nothing to bring up to date."""
    champions = Champions(job.workspace.var, trusting, [], print)
    updates = updates or updates_by(job.workspace.var, "true")
    return make_app(champions, Indexes(job.workspace), updates, workers or Workers(), keys or keys_of(job), hosts)


def updates_by(var: Path, *command: str) -> Updates:
    """Another command in the place of `headrace index NAME --json`, which is told NAME too."""

    def start(index: str, out: IO[bytes], log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*command, index], stdin=subprocess.DEVNULL, stdout=out, stderr=log)

    return Updates(start, var / "logs" / "updates", print)


def client_of(app: FastAPI, key: str | None = None, base_url: str = HERE) -> TestClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return TestClient(app, base_url=base_url, headers=headers, raise_server_exceptions=False)


def key_of(job: Job, name: str, *labels: str, rights: Sequence[str] = RIGHTS, **options: Any) -> str:
    return new_key(job.workspace.var / "keys.yaml", name, labels, rights, **options)


@contextmanager
def running(app: FastAPI, connection: type[asyncio.Protocol] | None = None) -> Iterator[str]:
    """The app behind a real port of this machine; its address."""
    with _listening("127.0.0.1", 0) as listener:
        server = configured(app, connection)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.02)
            yield _url(listener)
        finally:
            server.should_exit = True
            thread.join()
