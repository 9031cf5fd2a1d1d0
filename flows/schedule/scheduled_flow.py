"""Prefect's side of `headrace schedule`: the flow that it serves (one recipe or index brought up to date, committed and
pushed), its deployments, and what an earlier scheduler left on the server. Imports Prefect.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect import flow
from prefect import serve as prefect_serve
from prefect.automations import Automation
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, FlowRun, State, StateType
from prefect.context import FlowRunContext
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import CancelledRun, FailedRun, ObjectNotFound
from prefect.schedules import Cron
from prefect.states import Cancelled, Completed, Crashed, Failed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.types.entrypoint import EntrypointType

from core.errors import GATE_REFUSED, BadRequest, HeadraceError
from core.schema.schedule import Schedule
from core.workspace import Job, Kind, Workspace, find_workspace, is_name
from flows.catalog.live import chosen
from flows.catalog.receipt_check import read_receipt
from flows.catalog.refresh import refresh
from flows.graph.plan import INTERRUPTED
from flows.reporting.notices import tell
from flows.reporting.prefect_once import latest_runs
from flows.reporting.refused_state import refusal
from flows.run.commit import commit_and_push
from flows.run.run import run
from flows.schedule.missed import schedule_of, serve, tell_missed
from flows.schedule.run_line import came_of, line
from flows.servers.servers import is_own
from flows.servers.turns import holder
from flows.terminal.output import say

FLOW = "headrace-scheduled"
AUTOMATION = "headrace: end runs whose process died"
WORKSPACE = "HEADRACE_WORKSPACE"  # where a run works: a run's parameters may come from whoever reaches the server
_BY_SCHEDULE = "auto-scheduled"  # Prefect's tag of the runs that a schedule made
_SILENT_S = 90  # three heartbeats of 30 s
_IN_A_LINE = {"Refused": "REFUSED", "Failed": "failed", "Cancelled": "cancelled"}
_THREADS: Any = ThreadPoolTaskRunner(max_workers=64)  # more than stages in the graph of one recipe


@flow(name=FLOW, flow_run_name="{name}", task_runner=_THREADS, retries=0, persist_result=False)
def scheduled(kind: Kind, name: str, commit: bool = False, push: bool = False) -> State[Any]:
    """Bring one live recipe or index of HEADRACE_WORKSPACE up to date where it lies, and keep what it moved."""
    logging.getLogger("prefect.flow_runs").addFilter(_more_than_the_state)
    place = _workspace()
    (job,) = chosen(place, [name], kind)
    _cover_missed_slots()
    schedule = None
    try:
        if (schedule := schedule_of(job)) is not None:
            tell_missed(job, schedule)  # what passed before: the machine slept
        state = _bring(job, commit=commit, push=push)
    except HeadraceError as fault:
        tell(place, kind, name, "failed", [str(fault)])
        state = Failed(message=str(fault))
    finally:
        if schedule is not None:
            serve(job, schedule)  # what passed meanwhile is not missed
    say(line(job, _IN_A_LINE.get(str(state.name), ""), state.message or ""))
    return state


def _more_than_the_state(record: logging.LogRecord) -> bool:
    """Whether a line of the run's log says more: Prefect's engine adds a traceback of its own to a state returned."""
    return not (record.exc_info and isinstance(record.exc_info[1], FailedRun | CancelledRun))


def _workspace() -> Workspace:
    """Where this process works. Nothing that the server says chooses the folder: its code is run."""
    named = os.environ.get(WORKSPACE)
    if not named:
        raise BadRequest(f"{WORKSPACE} is not set. It names the workspace in which this worker's runs work.")
    return find_workspace(Path(named))


def _cover_missed_slots() -> None:
    """Cancel the other runs of this deployment whose time has come: what they would do, this one does now.

    So a night that was slept over, or a run that lasted over the next slots, is followed by one run.
    """
    context = FlowRunContext.get()
    here = context.flow_run if context is not None else None
    if here is None or here.deployment_id is None:
        return
    due = {
        "deployment_id": {"any_": [here.deployment_id]},
        "tags": {"all_": [_BY_SCHEDULE]},
        "expected_start_time": {"before_": datetime.now(UTC)},
    }
    with get_client(sync_client=True) as client:
        for other in latest_runs(client, FLOW, ["SCHEDULED"], **due):
            client.set_flow_run_state(other.id, Cancelled(message=f"its slot is covered by the run {here.id}"))


def _bring(job: Job, *, commit: bool, push: bool) -> State[Any]:
    refresh(job)
    before = read_receipt(job)
    outcome = run(job.workspace, job.kind, [job.name], quiet=True)
    if outcome.exit_code == INTERRUPTED:
        return Cancelled(message="ended by a person")
    if outcome.exit_code not in (0, GATE_REFUSED):
        failed = [f"{stage.address}: {stage.message}" for stage in outcome.stages if stage.state == "failed"]
        return Failed(message="; ".join(failed))
    kept = commit_and_push(job.workspace, job.kind, [job.name], commit=commit, push=push)
    committed = f"; commit {kept.commit[:10]} ({', '.join(kept.files)})" if kept.commit else ""
    if outcome.refused:
        return refusal("; ".join(outcome.refused[job.name]) + committed)
    return Completed(message=("nothing changed" if outcome.nothing_to_do else came_of(job, before)) + committed)


def serve_deployments(schedules: Mapping[Job, Schedule | None]) -> None:
    """Serve one for each of these, until Ctrl-C; there is one at least."""
    prefect_serve(*(_deployment(job, schedule) for job, schedule in schedules.items()), print_starting_message=False)


def _deployment(job: Job, schedule: Schedule | None) -> Any:
    return scheduled.to_deployment(
        name=_deployment_name(job),
        schedule=Cron(schedule.cron, timezone=schedule.timezone) if schedule else None,
        parameters={
            "kind": job.kind,
            "name": job.name,
            "commit": bool(schedule and (schedule.commit or schedule.push)),
            "push": bool(schedule and schedule.push),
        },
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        entrypoint_type=EntrypointType.MODULE_PATH,
        tags=["headrace", job.kind, tag_of(job.workspace)],
    )


def _deployment_name(job: Job) -> str:
    return f"{job.kind}-{job.name}"


def tag_of(workspace: Workspace) -> str:
    """A tag of the runs of a workspace: several may have one server of the user's."""
    return f"workspace:{hashlib.sha256(str(workspace.root).encode()).hexdigest()[:12]}"


def put_right(workspace: Workspace, jobs: Sequence[Job]) -> None:
    """Settle what an earlier scheduler, or somebody else, left on the server."""
    with get_client(sync_client=True) as client:
        if not client.read_automations_by_name(AUTOMATION):
            _end_dead_runs().create()
        _crash_lost_runs(client, workspace)
        _adopt_earlier_runs(client, workspace)
        delete_altered(client, jobs)


def _crash_lost_runs(client: SyncPrefectClient, workspace: Workspace) -> None:
    """End the runs that an earlier scheduler of this workspace took down with it, so that their slots are free now.

    A run whose process lives holds its recipe's turn, and goes on. Prefect alone would find out after minutes.
    """
    for lost in latest_runs(client, FLOW, ["RUNNING", "PENDING", "CANCELLING"]):
        job = _job_of(workspace, lost)
        if job is not None and holder(workspace, job.kind, job.name) is None:
            client.set_flow_run_state(lost.id, Crashed(message="its process was gone when the scheduler started"))


def _adopt_earlier_runs(client: SyncPrefectClient, workspace: Workspace) -> None:
    """Take the workspace out of the parameters of runs that wait since a version that had it there.

    A run that names another folder stays as it is, and the flow does not take it.
    """
    for waiting in latest_runs(client, FLOW, ["SCHEDULED"]):
        if waiting.parameters.get("workspace") == str(workspace.root):
            kept = {name: value for name, value in waiting.parameters.items() if name != "workspace"}
            client.update_flow_run(waiting.id, parameters=kept)


def delete_altered(client: SyncPrefectClient, jobs: Sequence[Job]) -> None:
    """Delete what somebody gave steps to run before the flow; ours have none, and an update would keep them."""
    for job in jobs:
        with contextlib.suppress(ObjectNotFound):
            found = client.read_deployment_by_name(f"{FLOW}/{_deployment_name(job)}")
            if found.pull_steps:
                client.delete_deployment(found.id)


def _job_of(workspace: Workspace, run: FlowRun) -> Job | None:
    """What a run of this workspace brings up to date; earlier versions wrote the workspace into its parameters.

    The tag is made of its path, which was another one when the workspace was moved since.
    """
    told = run.parameters
    here = tag_of(workspace) in run.tags or told.get("workspace") == str(workspace.root) or is_own(workspace)
    kind, name = told.get("kind"), str(told.get("name"))
    return workspace.job(kind, name) if here and kind in ("recipe", "index") and is_name(name) else None


def _end_dead_runs() -> Automation:
    """Crash a flow run whose heartbeat stopped."""
    beat, run = "prefect.flow-run.heartbeat", "prefect.flow-run"
    silence = f"its process gave no sign for {_SILENT_S} s"
    return Automation(
        name=AUTOMATION,
        description="A run whose process was killed would stay Running for ever, and hold its recipe's turn.",
        trigger=EventTrigger(
            after={beat},
            expect={beat, *(f"{run}.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed"))},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=_SILENT_S),
        ),
        actions=[ChangeFlowRunState(name=None, state=StateType.CRASHED, message=silence, force=False)],
    )
