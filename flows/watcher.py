"""Every alias that somebody moves in MLflow is seen within seconds and judged: MLflow calls, or a look finds it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from flows import servers
from flows.promotion import announce, judge_of
from flows.webhooks import receiving
from pipelines.errors import HeadraceError, Outage
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from registry.promotion import Settled

LOOK_EVERY_S = (
    2.0  # webhooks come from MLflow's server only: what is moved in its database, or while it is away, is found
)
VERIFY_EVERY_S = 60.0


def watch(
    workspace: Workspace, over: threading.Event, say: Callable[[str], None], woken: threading.Event | None = None
) -> None:
    """Judge every alias that somebody moves, until `over` is set; a server that is away is waited for.

    woken: ends the wait for the next look; MLflow's webhook sets it. Verifies every ledger now and then, and says once
    what is wrong with one.
    """
    woken = woken or threading.Event()
    told: set[str] = set()
    verify_at = time.monotonic()
    asking = True  # what is open on Prefect's page may be void since the last scheduler
    with receiving(workspace, woken.set, say) as webhook:
        while not over.is_set():
            woken.clear()
            try:
                _look(workspace, say)
                webhook.keep()
                asking = _approvals(workspace, asking, partial(_once, told, say))
                if time.monotonic() >= verify_at:
                    verify_at = time.monotonic() + VERIFY_EVERY_S
                    for fault in _broken(workspace):
                        _once(told, say, fault)
            except Outage as outage:
                _once(told, say, f"promotions are not watched for now: {outage}")
            woken.wait(LOOK_EVERY_S)


@contextmanager
def watching(workspace: Workspace) -> Iterator[None]:
    """`watch` in a thread of this process while the block runs; what it sees is said on stderr."""
    over, woken = threading.Event(), threading.Event()
    say = partial(print, file=sys.stderr, flush=True)
    thread = threading.Thread(target=watch, args=(workspace, over, say, woken), name="promotions", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        woken.set()
        thread.join()


def _approvals(workspace: Workspace, asking: bool, say: Callable[[str], None]) -> bool:
    """Bring questions and answers together; whether a question is open."""
    from registry.question import questions

    waiting = questions(workspace.var)
    if not (waiting or asking) or (api := servers.prefect_running(workspace)) is None:
        return bool(waiting) or asking
    from flows.approval import bring_together

    return bring_together(workspace, api, waiting, say)


def _once(told: set[str], say: Callable[[str], None], words: str) -> None:
    if words not in told:
        told.add(words)
        say(words)


def _look(workspace: Workspace, say: Callable[[str], None]) -> None:
    from registry.glance import moved
    from registry.promotion import settle

    for name in moved(workspace.var):
        try:
            done = settle(name, workspace.var, judge_of(workspace))
        except Outage:
            raise
        except HeadraceError as fault:  # of this model; the others go on
            say(f"{name}: {fault}")
            continue
        if done is not None:
            say(_settled(done))
            what = "promoted" if done.accepted else "refused"
            announce(workspace, name, str(done.asked), what, "\n".join(done.why))


def _broken(workspace: Workspace) -> Iterator[str]:
    from registry.connection import answering, connect
    from registry.glance import with_ledger
    from registry.journal import read

    for name in with_ledger(workspace.var):
        with answering():
            faults = read(connect(workspace.var), name).faults
        for fault in faults:
            yield f"the ledger of {name} is not whole: {fault}. `headrace history {name} --verify` says more."


def _settled(done: Settled) -> str:
    if done.accepted:
        return f"{done.model}: version {done.asked} was made champion in MLflow; its evidence allows it"
    why = "; ".join(done.why)
    asked = f"version {done.asked} was made champion" if done.asked else "the alias champion was removed"
    return f"{done.model}: {asked} in MLflow; it is back at {done.champion or 'nobody'}: {why}"
