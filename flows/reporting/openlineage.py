"""OPENLINEAGE_URL: what the stages of a run do, told to a collector in the OpenLineage standard, by its own client.

Beside the run and in order; a collector that is away costs one line, and the run goes on. `dvc repro` has no driver,
and tells nothing. The client reads its other settings itself (OPENLINEAGE_API_KEY, OPENLINEAGE_CONFIG ...).
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from core.addresses import without_secrets
from core.errors import HeadraceError
from core.schema.reading import read_document
from core.workspace import now
from flows.graph.plan import StageOutcome

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

VARIABLE = "OPENLINEAGE_URL"
_NAMESPACE = "OPENLINEAGE_NAMESPACE"  # of jobs; the variable that other integrations read
_PRODUCER = "urn:headrace"
_LAST_WORDS_S = 10.0  # for what is not sent yet when the run ends
_ENDS = {"ran": "COMPLETE", "failed": "FAIL", "cancelled": "ABORT"}
_CODE = ".py"  # files of code are no data sets; the commit in git names them


class Lineage:
    """The events of one run's stages; call it from any thread. A stage that does not start tells nothing."""

    def __init__(self, root: Path, say: Callable[[str], None]) -> None:
        self._root, self._say = root, say
        self._running: dict[str, str] = {}  # address -> the id of its run
        self._waiting: queue.Queue[Callable[[], RunEvent] | None] = queue.Queue()
        self._sender = threading.Thread(target=self._send, name="openlineage", daemon=True)
        self._sender.start()

    def started(self, address: str) -> None:
        self._running[address] = str(uuid4())
        self._tell("START", address, self._running[address])

    def ended(self, outcome: StageOutcome) -> None:
        run_id, what = self._running.pop(outcome.address, None), _ENDS.get(outcome.state)
        if run_id is not None and what is not None:
            self._tell(what, outcome.address, run_id, outcome.message)

    def close(self) -> None:
        """Send what is left, or give up."""
        self._waiting.put(None)
        self._sender.join(_LAST_WORDS_S)

    def _tell(self, what: str, address: str, run_id: str, message: str = "") -> None:
        self._waiting.put(partial(_event, self._root, what, address, run_id, now(), message))

    def _send(self) -> None:
        for chatty in ("openlineage", "urllib3.connectionpool"):
            logging.getLogger(chatty).setLevel(logging.CRITICAL)  # of each try; we say what came of it
        try:
            from openlineage.client import OpenLineageClient

            client = OpenLineageClient()
            while (event := self._waiting.get()) is not None:
                client.emit(event())
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, HeadraceError) as error:  # network and settings
            words = without_secrets(str(error).strip() or type(error).__name__)[:300]
            self._say(f"{VARIABLE}: no more events in this run, which goes on: {words}")


@contextmanager
def lineage_of(root: Path, say: Callable[[str], None]) -> Iterator[Lineage | None]:
    """What tells a collector while the block runs, where OPENLINEAGE_URL names one."""
    if not os.environ.get(VARIABLE):
        yield None
        return
    lineage = Lineage(root, say)
    try:
        yield lineage
    finally:
        lineage.close()


def _event(root: Path, what: str, address: str, run_id: str, at: str, message: str) -> RunEvent:
    """What happened to a stage. what: an event type of OpenLineage."""
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
    from openlineage.client.facet_v2 import error_message_run

    stages = read_document(root / "dvc.lock").values["stages"] if what == "COMPLETE" else {}
    entry: Mapping[str, Any] = stages.get(address, {})
    facets: dict[str, Any] = {}
    if message:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(without_secrets(message), "python")
    return RunEvent(
        eventTime=at,
        eventType=RunState[what],
        producer=_PRODUCER,
        run=Run(run_id, facets),
        job=Job(os.environ.get(_NAMESPACE, "headrace"), address),
        inputs=[InputDataset("file", name, facets=known) for name, known in _datasets(root, entry.get("deps", []))],
        outputs=[OutputDataset("file", name, facets=known) for name, known in _datasets(root, entry.get("outs", []))],
    )


def _datasets(root: Path, entries: list[Mapping[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and version of what dvc.lock names; a version is the hash that DVC knows the content by."""
    from openlineage.client.facet_v2 import dataset_version_dataset

    for entry in entries:
        if not entry["path"].endswith(_CODE):
            algorithm = entry.get("hash", "md5")
            known = f"{algorithm}:{entry[algorithm]}"
            yield str(root / entry["path"]), {"version": dataset_version_dataset.DatasetVersionDatasetFacet(known)}
