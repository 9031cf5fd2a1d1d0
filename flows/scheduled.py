"""The flow that `headrace schedule` serves: one recipe or index brought up to date, then committed and pushed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.commits import commit_and_push
from flows.locking import refresh
from flows.notices import tell
from flows.pipeline import run
from flows.plan import INTERRUPTED
from pipelines.errors import GATE_REFUSED, HeadraceError
from pipelines.workspace import Kind, Workspace

_THREADS: Any = ThreadPoolTaskRunner(max_workers=64)  # more than stages in the graph of one recipe


@flow(name="headrace-scheduled", flow_run_name="{name}", task_runner=_THREADS, persist_result=False)
def scheduled(workspace: str, kind: Kind, name: str, commit: bool = False, push: bool = False) -> State[Any]:
    """Bring one recipe or index up to date where it lies, and keep what it moved."""
    place = Workspace(Path(workspace))
    try:
        return _bring(place, kind, name, commit=commit, push=push)
    except HeadraceError as fault:
        tell(place, kind, name, "failed", [str(fault)])
        raise


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
