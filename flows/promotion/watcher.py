"""Every alias that somebody moves in MLflow, or in its database, is seen within seconds and judged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from core.errors import HeadraceError, Outage
from core.workspace import Workspace
from flows.promotion.move_champion import announce, judge_of
from flows.servers import servers
from flows.terminal import output
from registry.promotion import journal
from registry.promotion.promotion import Settled, settle
from registry.promotion.question import questions
from registry.store.embedded_reader import reading
from registry.store.overview import standings

LOOK_EVERY_S = 2.0
VERIFY_EVERY_S = 60.0


def watch(workspace: Workspace, over: threading.Event, say: Callable[[str], None]) -> None:
    """Judge every alias that somebody moves, until `over` is set; a server that is away is waited for.

    Verifies every ledger now and then, and says once what is wrong with one.
    """
    each_time = _Watch(workspace, say)
    while not over.is_set():
        for duty in (each_time.ask, each_time.look, each_time.verify):
            try:
                duty()
            except Outage as outage:  # of one server; the others are looked at
                each_time.say_once(f"promotions are not watched for now: {outage}")
        over.wait(LOOK_EVERY_S)


@contextmanager
def watching(workspace: Workspace, say: Callable[[str], None] = output.say) -> Iterator[None]:
    """`watch` in a thread of this process while the block runs."""
    over = threading.Event()
    thread = threading.Thread(target=watch, args=(workspace, over, say), name="promotions", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@dataclass
class _Watch:
    """What is done at each look, and what was said already."""

    workspace: Workspace
    say: Callable[[str], None]
    _told: set[str] = field(default_factory=set)
    _verify_at: float = 0.0
    _asking: bool = True  # what is open on Prefect's page may be void since the last scheduler

    def look(self) -> None:
        """Judge the aliases that somebody moved."""
        for name in [each.name for each in standings(self.workspace.var) if each.moved]:
            try:
                done = settle(name, self.workspace.var, judge_of(self.workspace))
            except Outage:
                raise
            except HeadraceError as fault:  # of this model; the others go on
                self.say_once(f"{name}: {fault}")
                continue
            if done is not None:
                self.say(_settled(done))
                what = "promoted" if done.accepted else "refused"
                announce(self.workspace, name, str(done.asked), what, "\n".join(done.why))

    def ask(self) -> None:
        """Bring the questions that wait for a person and the answers on Prefect's page together."""
        waiting = questions(self.workspace.var)
        if (waiting or self._asking) and (api := servers.prefect_running(self.workspace)) is not None:
            from flows.promotion.approval_run import bring_together

            self._asking = bring_together(self.workspace, api, waiting, self.say_once)

    def verify(self) -> None:
        """Read every ledger, now and then."""
        if time.monotonic() >= self._verify_at:
            self._verify_at = time.monotonic() + VERIFY_EVERY_S
            for name in [each.name for each in standings(self.workspace.var) if each.head is not None]:
                with reading(self.workspace.var) as client:
                    faults = journal.read(client, name).faults
                for fault in faults:
                    more = f"`headrace history {name} --verify` says more."
                    self.say_once(f"the ledger of {name} is not whole: {fault}. {more}")

    def say_once(self, words: str) -> None:
        if words not in self._told:
            self._told.add(words)
            self.say(words)


def _settled(done: Settled) -> str:
    if done.accepted:
        return f"{done.model}: version {done.asked} was made champion in MLflow; its evidence allows it"
    why = "; ".join(done.why)
    asked = f"version {done.asked} was made champion" if done.asked else "the alias champion was removed"
    return f"{done.model}: {asked} in MLflow; it is back at {done.champion or 'nobody'}: {why}"
