"""The flow that `headrace schedule` serves: one recipe or index brought up to date, then committed and pushed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from core.errors import GATE_REFUSED, BadRequest, HeadraceError
from core.workspace import Job, Kind, Workspace, find_workspace
from flows.catalog.live import chosen
from flows.catalog.refresh import refresh
from flows.graph.plan import INTERRUPTED
from flows.reporting.notices import tell
from flows.run.commit import commit_and_push
from flows.run.run import run
from flows.schedule.deployments import FLOW, WORKSPACE, schedule_of
from flows.schedule.missed import serve, tell_missed

_BY_SCHEDULE = "auto-scheduled"  # Prefect's tag of the runs that a schedule made
_THREADS: Any = ThreadPoolTaskRunner(max_workers=64)  # more than stages in the graph of one recipe


@flow(name=FLOW, flow_run_name="{name}", task_runner=_THREADS, persist_result=False)
def scheduled(kind: Kind, name: str, commit: bool = False, push: bool = False) -> State[Any]:
    """Bring one live recipe or index of HEADRACE_WORKSPACE up to date where it lies, and keep what it moved."""
    place = _workspace()
    (job,) = chosen(place, [name], kind)
    _cover_missed_slots()
    try:
        with _serving(job):
            return _bring(place, kind, name, commit=commit, push=push)
    except HeadraceError as fault:
        tell(place, kind, name, "failed", [str(fault)])
        raise


def _workspace() -> Workspace:
    """Where this process works. Nothing that the server says chooses the folder: its code is run."""
    named = os.environ.get(WORKSPACE)
    if not named:
        raise BadRequest(f"{WORKSPACE} is not set. It names the workspace in which this worker's runs work.")
    return find_workspace(Path(named))


@contextmanager
def _serving(job: Job) -> Iterator[None]:
    """Tell of slots that passed before this run (the machine slept); those that pass during it are not missed."""
    schedule = schedule_of(job)
    if schedule is not None:
        tell_missed(job, schedule)
    try:
        yield
    finally:
        if schedule is not None:
            serve(job, schedule)


def _cover_missed_slots() -> None:
    """Cancel the other runs of this deployment whose time has come: what they would do, this one does now.

    So a night that was slept over, or a run that lasted over the next slots, is followed by one run.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    context = FlowRunContext.get()
    here = context.flow_run if context is not None else None
    if here is None or here.deployment_id is None:
        return
    due = FlowRunFilter.model_validate(
        {
            "deployment_id": {"any_": [here.deployment_id]},
            "state": {"type": {"any_": ["SCHEDULED"]}},
            "tags": {"all_": [_BY_SCHEDULE]},
            "expected_start_time": {"before_": datetime.now(UTC)},
        }
    )
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=due, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=200):
            client.set_flow_run_state(run.id, Cancelled(message=f"its slot is covered by the run {here.id}"))


def _bring(place: Workspace, kind: Kind, name: str, *, commit: bool, push: bool) -> State[Any]:
    refresh(place.job(kind, name))
    outcome = run(place, kind, [name], quiet=True)
    if outcome.exit_code == INTERRUPTED:
        return Cancelled(message="ended by a person")
    if outcome.exit_code not in (0, GATE_REFUSED):
        failed = [f"{stage.address}: {stage.message}" for stage in outcome.stages if stage.state == "failed"]
        return Failed(message="; ".join(failed))
    kept = commit_and_push(place, kind, [name], commit=commit, push=push)
    words = "nothing to do" if outcome.nothing_to_do else "up to date"
    if outcome.refused:
        words += ", its gates refused"
    if kept.commit:
        words += f", commit {kept.commit[:10]} ({', '.join(kept.files)})"
    return Completed(message=words)
