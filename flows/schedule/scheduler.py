"""`headrace schedule`: one deployment a live recipe and index, run when its schedule says, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from core.errors import BadRequest
from core.schema.schedule import Schedule
from core.workspace import Job, Workspace
from flows.catalog.live import live
from flows.promotion.watcher import watching
from flows.schedule.missed import schedule_of, tell_missed
from flows.servers import servers
from flows.servers.turns import only_one
from flows.terminal.output import say


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
        schedules = {job: schedule_of(job) for job in live(workspace)}
        api = servers.prefect_api(workspace)
        servers.await_users_server()
        os.chdir(workspace.root)  # the runs' processes start here
        with servers.prefect_settings(workspace, api), contextlib.suppress(KeyboardInterrupt):
            from flows.schedule.scheduled_flow import WORKSPACE, put_right, serve_deployments

            os.environ[WORKSPACE] = str(workspace.root)  # and work there
            put_right(workspace, list(schedules))
            for line in (*_lines(schedules), *_missed(schedules)):
                say(line)
            say(f"Prefect page: {servers.links(workspace)['prefect']}   Ctrl-C ends the scheduler")
            with watching(workspace):
                if schedules:
                    serve_deployments(schedules)
                else:
                    threading.Event().wait()


def _missed(schedules: dict[Job, Schedule | None]) -> Iterator[str]:
    """What passed while no scheduler ran, in words; somebody is told."""
    for job, schedule in schedules.items():
        if schedule is not None and (missed := tell_missed(job, schedule)) is not None:
            yield f"{job.kind} {job.name}: {missed}"


def _lines(schedules: dict[Job, Schedule | None]) -> Iterator[str]:
    for job, schedule in schedules.items():
        if schedule is None:
            yield f"{job.kind} {job.name}: no schedule; runs when started on Prefect's page"
            continue
        kept = "commits" if schedule.commit else "keeps what it moved uncommitted"
        then = "commits and pushes" if schedule.push else kept
        yield f"{job.kind} {job.name}: {schedule.cron} {schedule.timezone}, then {then}"
    if not schedules:
        yield "Nothing is live. `headrace new NAME --source DATA` adds something; restart the scheduler then."
