"""A training run on MLflow's page while it trains. A server that fails costs curves for a while, never the training."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import HeadraceError
from core.patience import pause_s
from registry.store.connection import answering, connect, experiment_id, quiet, sent_once
from registry.store.names import trained_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

MODEL_HASH = "model_hash"
RECIPE = "recipe"
TRAINING_KEY = "training_key"  # of everything that decides the result: a killed training goes on in its run
EXPERIMENT = "dvc_experiment"  # name of the DVC experiment; such runs register nothing
_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "mlflow", "numpy")
_SYSTEM = "system/"  # MLflow's prefix of sampled metrics
_SAMPLE_EVERY_S = 5.0  # system metrics
_RETRY_AFTER_S = 15.0  # doubled after every failure, so that a dead server's time-outs do not slow training
_RETRY_AFTER_AT_MOST_S = 300.0
_BATCH = 900  # MLflow takes 1,000 metrics a call
_DIGEST_CHARACTERS = 36  # MLflow's limit


@dataclass(frozen=True)
class Dataset:
    """What was trained on. digest: of the prepared rows; source: where they came from, as a person reads it."""

    name: str
    digest: str
    source: str


@dataclass
class TrainingRun:
    """Collects metrics and hands them to MLflow, in order; what it did not take is handed over at the next call."""

    var: Path
    recipe: str
    name: str
    params: Mapping[str, str | float | int]
    tags: Mapping[str, str]
    dataset: Dataset
    started_ms: int = field(default_factory=lambda: _now_ms())
    run_id: str | None = None
    _client: MlflowClient | None = None
    _waiting: list[Metric] = field(default_factory=list)
    _said: set[tuple[str, int]] = field(default_factory=set)  # key and step of all that was heard
    _described: bool = False
    _resumed: bool = False
    _failures: int = 0
    _failed: bool = False  # the last time
    _next_try: float = 0.0
    _monitor: Any = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of one step, each the first time that it is heard. Never raises for MLflow's sake."""
        from mlflow.entities import Metric

        now = _now_ms()
        new = [key for key in metrics if (key, step) not in self._said]
        self._said |= {(key, step) for key in new}
        self._waiting += [Metric(key, float(metrics[key]), now, step) for key in new]
        self._try(self._hand_over)

    def finish(self, model_hash: str) -> None:
        """Say which model came out: `register` finds the run by it. Called inside the block, last."""
        self.tags = {**self.tags, MODEL_HASH: model_hash}
        self._described = False

    def start(self) -> None:
        """Make the run, so that it stands on the page from the first step on."""
        self._try(self._hand_over)

    def end(self, status: str) -> None:
        """Hand over what is left and close the run as FINISHED, FAILED or KILLED."""
        if self._monitor is not None:
            self._monitor.finish()
        self._next_try = 0.0
        self._try(lambda: self._hand_over(status))

    def _hand_over(self, end_as: str | None = None) -> None:
        client = self._client = self._client or connect(self.var)
        self.run_id = self.run_id or self._create(client)
        if not self._described:
            self._describe(client, self.run_id)
        if end_as is None:
            self._watch_system(client, self.run_id)
        while self._waiting:
            batch = self._waiting[:_BATCH]
            client.log_batch(self.run_id, metrics=batch)
            del self._waiting[: len(batch)]
        if end_as is not None:
            client.set_terminated(self.run_id, end_as)

    def _create(self, client: MlflowClient) -> str:
        experiment = experiment_id(client, self.recipe, self.var)
        if (unfinished := self._unfinished(client, experiment)) is not None:
            return unfinished
        with sent_once():
            run = client.create_run(experiment, start_time=self.started_ms, tags=dict(self.tags), run_name=self.name)
        return str(run.info.run_id)

    def _unfinished(self, client: MlflowClient, experiment: str) -> str | None:
        """The run of the same training that was killed, opened again; the metrics that it has are not sent twice."""
        found = client.search_runs(
            [experiment],
            f"tags.{TRAINING_KEY} = '{self.tags[TRAINING_KEY]}' and attributes.status != 'FINISHED'",
            order_by=["attributes.start_time DESC"],
        )
        mine = self.tags.get(EXPERIMENT)
        run = next((run for run in found if run.data.tags.get(EXPERIMENT) == mine), None)
        if run is None:
            return None
        run_id = str(run.info.run_id)
        keys = [key for key in run.data.metrics if not key.startswith(_SYSTEM)]
        there = {(key, metric.step) for key in keys for metric in client.get_metric_history(run_id, key)}
        self._waiting = [metric for metric in self._waiting if (metric.key, metric.step) not in there]
        self._said |= there
        client.update_run(run_id, status="RUNNING")
        self._resumed = True
        return run_id

    def _describe(self, client: MlflowClient, run_id: str) -> None:
        from mlflow.entities import Dataset as LoggedDataset
        from mlflow.entities import DatasetInput, InputTag, Param, RunTag

        data = LoggedDataset(
            name=self.dataset.name,
            digest=self.dataset.digest[:_DIGEST_CHARACTERS],
            source_type="headrace",
            source=json.dumps({"uri": self.dataset.source, "sha256": self.dataset.digest}),
        )
        client.log_inputs(run_id, datasets=[DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
        params = [Param(key, str(value)) for key, value in self.params.items()]
        client.log_batch(run_id, params=params, tags=[RunTag(key, value) for key, value in self.tags.items()])
        self._described = True

    def _watch_system(self, client: MlflowClient, run_id: str) -> None:
        """MLflow's sampling thread ends for good when one request fails: after an outage, start another."""
        if self._monitor is None or self._failed:
            resumed = self._monitor is not None or self._resumed
            if self._monitor is not None:
                self._monitor.finish()
            self._monitor = _system_metrics(client, run_id, resume=resumed)

    def _try(self, action: Callable[[], object]) -> None:
        """Do it, or keep everything for the next call and warn once."""
        if time.monotonic() < self._next_try:
            return
        try:
            with answering():
                action()
            self._failed = False
        except (HeadraceError, OSError) as error:
            self._failed = True
            self._failures += 1
            pause = pause_s(self._failures, first_s=_RETRY_AFTER_S, longest_s=_RETRY_AFTER_AT_MOST_S)
            self._next_try = time.monotonic() + pause
            if self._failures == 1:
                print(f"MLflow: training goes on without its page for now: {error}", file=sys.stderr, flush=True)


def load() -> None:
    """Import what a run needs, for those who measure what a training takes."""
    import mlflow.store.tracking.sqlalchemy_store
    import mlflow.system_metrics.system_metrics_monitor
    import mlflow.tracking  # noqa: F401


@contextmanager
def training_run(
    *,
    var: Path,
    recipe: str,
    key: str,
    experiment: bool,
    params: Mapping[str, str | float | int],
    tags: Mapping[str, str],
    dataset: Dataset,
) -> Iterator[TrainingRun]:
    """A run in MLflow's experiment `recipe`: FINISHED when the block ends, FAILED or KILLED when it raises.

    key: hash of everything that decides the result. The run of a killed training of that key goes on, and each of its
    metrics stands once.
    experiment: this is a DVC experiment; the run carries its name (DVC_EXP_NAME) as a tag.
    """
    quiet()
    name = os.environ.get("DVC_EXP_NAME", "experiment") if experiment else ""
    all_tags = {  # as MLflow's page shows them: hashes last
        RECIPE: recipe,
        **({EXPERIMENT: name} if experiment else {}),
        "mlflow.source.name": "pipelines.train",
        **versions(_LIBRARIES),
        **tags,
        TRAINING_KEY: _here(key, var),
    }
    run = TrainingRun(var, recipe, name or trained_name(recipe, key, params), params, all_tags, dataset)
    run.start()
    try:
        yield run
    except (KeyboardInterrupt, SystemExit):
        run.end("KILLED")
        raise
    except BaseException:
        run.end("FAILED")
        raise
    run.end("FINISHED")


def _here(key: str, var: Path) -> str:
    """The key within this workspace: another one that trains the same on a shared server has a run of its own."""
    return hashlib.sha256(f"{key} {platform.node()} {var.resolve()}".encode()).hexdigest()


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Tags that say which versions are installed."""
    found = {"version.python": platform.python_version()}
    for library in libraries:
        try:
            found[f"version.{library}"] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _system_metrics(client: MlflowClient, run_id: str, *, resume: bool) -> Any:
    """Start sampling CPU, memory, disk and network in a thread of MLflow's."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)
    monitor = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
        run_id, sampling_interval=_SAMPLE_EVERY_S, tracking_uri=client.tracking_uri, resume_logging=resume
    )
    monitor.start()  # type: ignore[no-untyped-call]
    return monitor


def _now_ms() -> int:
    return int(time.time() * 1000)
