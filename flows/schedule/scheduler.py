"""`headrace schedule`: one deployment a live recipe and index, run when its schedule says, until Ctrl-C."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from core.errors import BadRequest
from core.workspace import Job, Workspace, is_name
from flows.catalog.live import live
from flows.promotion.watcher import watching
from flows.schedule.deployments import FLOW, WORKSPACE, schedule_of
from flows.schedule.missed import tell_missed
from flows.servers import servers
from flows.servers.turns import holder, only_one
from flows.terminal.output import say

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun
    from prefect.deployments.runner import RunnerDeployment

    from core.schema.schedule import Schedule

AUTOMATION = "headrace: end runs whose process died"
_SILENT_S = 90  # three heartbeats of 30 s
_SILENCE = f"its process gave no sign for {_SILENT_S} s"


def serve(workspace: Workspace) -> None:
    """Serve until Ctrl-C or SIGTERM. Works with no schedule, and with nothing live.

    Raises BadRequest when this workspace has a scheduler already, or for a settings file with mistakes.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background job starts with it ignored
    with only_one(workspace, "schedule", command="headrace schedule") as other:
        if other is not None:
            raise BadRequest(
                f"{workspace.root} has a scheduler already: {other}. Restart that one to change what it serves."
            )
        jobs = live(workspace)
        schedules = {job: schedule_of(job) for job in jobs}
        api = servers.prefect_api(workspace)
        servers.await_users_server()
        os.chdir(workspace.root)  # the runs' processes start here
        os.environ[WORKSPACE] = str(workspace.root)  # and work there
        with servers.prefect_settings(workspace, api), contextlib.suppress(KeyboardInterrupt):
            _end_dead_runs()
            _crash_lost_runs(workspace)
            _adopt_earlier_runs(workspace)
            _delete_altered(jobs)
            _tell(workspace, schedules, _missed(schedules))
            with watching(workspace):
                _serve([_deployment(job, schedule) for job, schedule in schedules.items()])


def _deployment(job: Job, schedule: Schedule | None) -> RunnerDeployment:
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.schedules import Cron
    from prefect.types.entrypoint import EntrypointType

    from flows.schedule.scheduled_flow import scheduled

    one_at_a_time = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
    deployment: Any = scheduled.to_deployment(
        name=_deployment_name(job),
        schedule=Cron(schedule.cron, timezone=schedule.timezone) if schedule else None,
        parameters={
            "kind": job.kind,
            "name": job.name,
            "commit": bool(schedule and (schedule.commit or schedule.push)),
            "push": bool(schedule and schedule.push),
        },
        concurrency_limit=one_at_a_time,
        entrypoint_type=EntrypointType.MODULE_PATH,
        tags=["headrace", job.kind, tag_of(job.workspace)],
    )
    return deployment  # type: ignore[no-any-return]


def _deployment_name(job: Job) -> str:
    return f"{job.kind}-{job.name}"


def tag_of(workspace: Workspace) -> str:
    """A tag of the runs of a workspace: several may have one server of the user's."""
    return f"workspace:{hashlib.sha256(str(workspace.root).encode()).hexdigest()[:12]}"


def _serve(deployments: list[RunnerDeployment]) -> None:
    if deployments:
        from prefect import serve as prefect_serve

        prefect_serve(*deployments, print_starting_message=False)
        return
    threading.Event().wait()


def _missed(schedules: dict[Job, Schedule | None]) -> list[str]:
    """What passed while no scheduler ran, in words; somebody is told."""
    told = {job: tell_missed(job, schedule) for job, schedule in schedules.items() if schedule is not None}
    return [f"{job.kind} {job.name}: {missed}" for job, missed in told.items() if missed is not None]


def _tell(workspace: Workspace, schedules: dict[Job, Schedule | None], missed: list[str]) -> None:
    for line in (*_lines(schedules), *missed):
        say(line)
    say(f"Prefect page: {servers.links(workspace)['prefect']}   Ctrl-C ends the scheduler")


def _lines(schedules: dict[Job, Schedule | None]) -> Iterator[str]:
    for job, schedule in schedules.items():
        if schedule is None:
            yield f"{job.kind} {job.name}: no schedule; runs when started on Prefect's page"
            continue
        then = (
            "commits and pushes"
            if schedule.push
            else "commits"
            if schedule.commit
            else "keeps what it moved uncommitted"
        )
        yield f"{job.kind} {job.name}: {schedule.cron} {schedule.timezone}, then {then}"
    if not schedules:
        yield "Nothing is live. `headrace new NAME --from FILE` adds something; restart the scheduler then."


def _crash_lost_runs(workspace: Workspace) -> None:
    """End the runs that an earlier scheduler of this workspace took down with it, so that their slots are free now.

    A run whose process lives holds its recipe's turn, and goes on. Prefect alone would find out after minutes.
    """
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        for run in _runs("RUNNING", "PENDING", "CANCELLING"):
            job = _job_of(workspace, run)
            if job is not None and holder(workspace, job.kind, job.name) is None:
                client.set_flow_run_state(run.id, Crashed(message="its process was gone when the scheduler started"))


def _adopt_earlier_runs(workspace: Workspace) -> None:
    """Take the workspace out of the parameters of runs that wait since a version that had it there.

    A run that names another folder stays as it is, and the flow does not take it.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        for run in _runs("SCHEDULED"):
            if run.parameters.get("workspace") == str(workspace.root):
                kept = {name: value for name, value in run.parameters.items() if name != "workspace"}
                client.update_flow_run(run.id, parameters=kept)


def _delete_altered(jobs: Sequence[Job]) -> None:
    """Delete what somebody gave steps to run before the flow; ours have none, and an update would keep them."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    with get_client(sync_client=True) as client:
        for job in jobs:
            with contextlib.suppress(ObjectNotFound):
                found = client.read_deployment_by_name(f"{FLOW}/{_deployment_name(job)}")
                if found.pull_steps:
                    client.delete_deployment(found.id)


def _runs(*states: str) -> list[FlowRun]:
    """The server's runs of our flow in these states, the latest first."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        return client.read_flow_runs(
            flow_filter=FlowFilter.model_validate({"name": {"any_": [FLOW]}}),
            flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": list(states)}}}),
            sort=FlowRunSort.EXPECTED_START_TIME_DESC,
            limit=200,
        )


def _job_of(workspace: Workspace, run: FlowRun) -> Job | None:
    """What a run of this workspace brings up to date; earlier versions wrote the workspace into its parameters."""
    told = run.parameters
    here = tag_of(workspace) in run.tags or told.get("workspace") == str(workspace.root)
    kind, name = told.get("kind"), str(told.get("name"))
    return workspace.job(kind, name) if here and kind in ("recipe", "index") and is_name(name) else None


def _end_dead_runs() -> None:
    """Make the automation that crashes a flow run whose heartbeat stopped, unless it is there."""
    from prefect.automations import Automation
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.objects import StateType
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification

    with get_client(sync_client=True) as client:
        if client.read_automations_by_name(AUTOMATION):
            return
    beat, run = "prefect.flow-run.heartbeat", "prefect.flow-run"
    Automation(
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
        actions=[ChangeFlowRunState(name=None, state=StateType.CRASHED, message=_SILENCE, force=False)],
    ).create()
