"""Prefect's server over a network that loses replies: what is made there is made once, and an outage is waited for.

Stages need no server: one that fails costs its page, and at the end one message. Prefect's client sends a request again
when its reply is lost; what makes something would then make it twice. Imports Prefect.
"""

from __future__ import annotations

import contextvars
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import FlowRunCreate
from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun, FlowRunPolicy
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext, SettingsContext, get_settings_context
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL
from prefect.states import Pending, to_state_create

from core.errors import Outage
from core.terminal import heard

_TOLD_EVERY_S = 15.0

T = TypeVar("T")


@contextmanager
def patient(say: Callable[[str], None]) -> Iterator[None]:
    """Say it when Prefect's client waits for its server (how long: flows/servers/). Raises Outage when in vain."""
    api = PREFECT_API_URL.value()
    logging.raiseExceptions = False  # Prefect's log handler would print what the server did not take
    told = 0.0

    def hear(record: logging.LogRecord) -> None:
        nonlocal told
        waits = "Another attempt will be made" in record.getMessage()  # the client tells only its log
        if waits and time.monotonic() - told > _TOLD_EVERY_S:
            told = time.monotonic()
            say(f"waiting for Prefect's server {api}, which does not answer or lost a reply")

    try:
        with heard("prefect.client", logging.DEBUG, hear):
            yield
    except (httpx.HTTPError, RuntimeError) as error:
        if (words := no_answer(error)) is None:
            raise
        _drop_events()
        raise Outage(
            f"Prefect's server {api} does not answer: {words}. What the stages made stands; run again when it "
            "is back. PREFECT_API_URL names the server; without it this workspace starts one of its own."
        ) from None


@contextmanager
def decoration(*, retries: int = 2) -> Iterator[None]:
    """What is nice to have on the page, and waited for 6 s at most: when its server fails, the run goes on without."""
    with settings_with("client", max_retries=retries), suppress(httpx.HTTPError):
        yield


@contextmanager
def settings_with(section: str, **changed: Any) -> Iterator[None]:
    """Prefect's settings, some of a section changed, for this thread: `temporary_settings` reads all of them anew."""
    here = get_settings_context()
    part = getattr(here.settings, section).model_copy(update=changed)
    with SettingsContext(profile=here.profile, settings=here.settings.model_copy(update={section: part})):
        yield


@contextmanager
def beating(run: FlowRun, every_s: float | None) -> Iterator[None]:
    """Tell the server now and then that this run's process lives, as Prefect does whose own way takes 1 s to end.

    every_s: None for never.
    """
    over = threading.Event()
    resource = {"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": run.name}

    def beat() -> None:
        emit_event("prefect.flow-run.heartbeat", resource)
        while not over.wait(every_s):
            emit_event("prefect.flow-run.heartbeat", resource)

    if every_s is not None:
        threading.Thread(target=contextvars.copy_context().run, args=(beat,), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def latest_runs(client: SyncPrefectClient, flow: str, states: Sequence[str], **more: Any) -> list[FlowRun]:
    """The server's runs of a flow in these states, the latest first. more: of Prefect's FlowRunFilter."""
    return client.read_flow_runs(
        flow_filter=FlowFilter.model_validate({"name": {"any_": [flow]}}),
        flow_run_filter=FlowRunFilter.model_validate({"state": {"type": {"any_": states}}, **more}),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=200,
    )


def made_run(flow: Flow[..., Any], parameters: Mapping[str, Any]) -> FlowRun:
    """A flow run on the server; one, however often the request has to be sent."""
    with get_client(sync_client=True) as client:
        run = FlowRunCreate(
            flow_id=client.create_flow(flow),
            parameters=flow.serialize_parameters(dict(parameters)),
            state=to_state_create(Pending()),
            empirical_policy=FlowRunPolicy(retries=flow.retries, retry_delay=0),
            idempotency_key=str(uuid4()),
        )
        reply = client.request("POST", "/flow_runs/", json=run.model_dump(mode="json", exclude_unset=True))
    return FlowRun.model_validate(reply.json()).model_copy(update={"parameters": dict(parameters)})


def left_once(create: Callable[..., Any], content: Any, *, key: str, description: str) -> UUID:
    """Leave an artifact in the current flow run: sent once; when the reply is lost, what it made is looked for.

    create: one of Prefect's create_..._artifact.
    """
    with settings_with("client", max_retries=0), suppress(httpx.TransportError):
        return UUID(str(create(content, key=key, description=description)))
    return _artifact(key) or UUID(str(create(content, key=key, description=description)))


def current_run() -> UUID | None:
    context = FlowRunContext.get()
    return context.flow_run.id if context is not None and context.flow_run is not None else None


def _drop_events() -> None:
    """Forget the events that wait for a server that is gone: at the exit Prefect would try each of them for seconds."""
    waiting = EventsWorker.instance()._queue
    with suppress(queue.Empty):
        while True:
            waiting.get_nowait()


def _artifact(key: str) -> UUID | None:
    """Asked without `read_artifacts`, which the server refuses unless runs are asked for too."""
    wanted = {"flow_run_id": {"any_": [str(current_run())]}, "key": {"any_": [key]}}
    with get_client(sync_client=True) as client:
        found = client.request("POST", "/artifacts/filter", json={"artifacts": wanted, "limit": 1}).json()
    return UUID(found[0]["id"]) if found else None


def no_answer(error: Exception) -> str | None:
    """The words of Prefect's client, one line, when its server did not answer; None for any other fault."""
    cause = error if isinstance(error, httpx.HTTPError) else error.__cause__  # its first request is wrapped
    if not isinstance(cause, httpx.HTTPError):
        return None
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300].rstrip(".")
