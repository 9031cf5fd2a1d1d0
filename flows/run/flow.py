"""The stages of a run -> one Prefect flow run, one task run a stage, in the order of the graph.

Imports Prefect, so it is imported only when there is something to do.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

import httpx
from prefect import Task, flow
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.objects import TaskRun as TaskRunRecord
from prefect.context import TaskRunContext
from prefect.flow_engine import run_flow
from prefect.futures import PrefectFuture
from prefect.settings import get_current_settings
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.graph.plan import StageOutcome
from flows.reporting.prefect_once import beating, current_run, decoration, left_once, made_run, patient, settings_with
from flows.reporting.refused_state import refusal
from flows.run.work import Work

_WATCH_EVERY_S = 2.0
_ENDED = (StateType.CANCELLING, StateType.CANCELLED)


_Refused = Mapping[str, Sequence[str]]  # name -> reasons of its gates


def drive(work: Work, report: Callable[[], None], refused: Callable[[], _Refused]) -> UUID:
    """Bring the stages up to date inside the current flow run, or else in one of their own; returns its id.

    report: called inside the flow run when the stages are done, to leave artifacts. refused: what the gates say then.
    """
    if (here := current_run()) is not None:
        _bring_all(work, here, report)
        return here

    def headrace(kind: str, names: list[str], force: str | None) -> State[Any]:
        with beating(made, beat_s):
            _bring_all(work, made.id, report)
        return final_state(work.outcomes(), refused())

    plan = work.plan
    runner: Any = ThreadPoolTaskRunner(max_workers=len(plan.nodes))
    run = flow(
        name=f"headrace-{plan.kind}",
        flow_run_name=", ".join(plan.names)[:80],
        task_runner=runner,
        retries=0,
        persist_result=False,
        validate_parameters=False,
    )(headrace)
    parameters = {"kind": plan.kind, "names": list(plan.names), "force": plan.force}
    beat_s = get_current_settings().flows.heartbeat_frequency
    with patient(work.screen.say), settings_with("flows", heartbeat_frequency=None):
        made = made_run(run, parameters)
        run_flow(run, flow_run=made, parameters=parameters, return_type="state")
    return made.id


def final_state(outcomes: list[StageOutcome], refused: _Refused) -> State[Any]:
    if any(outcome.state == "cancelled" for outcome in outcomes):
        return Cancelled(message="ended by a person")
    if failed := [outcome for outcome in outcomes if outcome.state == "failed"]:
        return Failed(message="; ".join(f"{outcome.address}: {outcome.message}" for outcome in failed))
    if refused:
        return refusal("; ".join(f"{name}: {why}" for name in refused for why in refused[name]))
    ran = sum(outcome.state == "ran" for outcome in outcomes)
    return Completed(message=f"{ran} of {len(outcomes)} stages ran, the others were up to date")


def _bring_all(work: Work, flow_run_id: UUID, report: Callable[[], None]) -> None:
    bring = _task(work)
    futures: dict[str, PrefectFuture[Any]] = {}
    # Prefect's flow listens to SIGTERM itself, in place of what the driver has set.
    with work.crew.ending_on_signals(), _watching(work, flow_run_id):
        for node in work.plan.nodes:
            needed = [futures[need] for need in node.needs]
            own = bring.with_options(name=node.stage, task_run_name=node.address)
            futures[node.address] = own.submit(node.address, wait_for=needed, return_state=False)
        for future in futures.values():
            future.wait()
        work.skip_rest()
        work.crew.dismiss()
        with decoration():
            report()


def _task(work: Work) -> Task[[str], State[Any]]:
    def bring(address: str) -> State[Any]:
        context = TaskRunContext.get()
        outcome = work.bring(address, tried=context.task_run.run_count - 1 if context is not None else 0)
        if outcome.state == "cancelled":
            return Cancelled(message="ended with the run")
        if outcome.state == "failed":
            return Failed(message=outcome.message)
        if outcome.state == "cached":
            return Completed(name="Cached", message="nothing that it reads changed")
        return Completed()

    def again(task: Task[..., Any], run: TaskRunRecord, state: State[Any]) -> bool:
        return work.may_retry(run.name)

    # The waits between tries are Work's: those of Prefect cannot be interrupted.
    return Task(
        bring, name="stage", retries=work.patience.retries, retry_condition_fn=again, cache_policy=NO_CACHE,
        persist_result=False,
    )  # fmt: skip


@contextmanager
def _watching(work: Work, flow_run_id: UUID) -> Iterator[None]:
    """Keep the progress artifact, and look whether somebody cancelled the run on Prefect's page."""
    page, over = _ProgressBar(work), threading.Event()
    page.show()

    def watch() -> None:
        with decoration(retries=0), get_client(sync_client=True) as client:
            while not over.wait(_WATCH_EVERY_S):
                with suppress(httpx.HTTPError):
                    state = client.read_flow_run(flow_run_id).state
                    if state is not None and state.type in _ENDED and not work.crew.cancelled.is_set():
                        work.screen.say("cancelled on Prefect's page: ending what runs")
                        work.crew.cancel()
                page.show()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(watch,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        page.show()


class _ProgressBar:
    """On the page: how much is done. It may lag behind, or be missing, when the server fails."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._artifact: UUID | None = None
        self._told: tuple[float, str] | None = None

    def show(self) -> None:
        now = self._work.progress()
        if now == self._told:
            return
        said = now[1] if now[1] and now[0] < 100 else "stages done"
        with decoration():
            if self._artifact is None:
                key = f"{self._work.plan.kind}-progress"
                self._artifact = left_once(create_progress_artifact, now[0], key=key, description=said)
            else:
                update_progress_artifact(self._artifact, now[0], description=said)
            self._told = now
