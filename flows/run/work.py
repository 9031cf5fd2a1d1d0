"""The stages of one plan, each brought up to date by the crew, and what came of them. Knows nothing of Prefect.

A stage begins as soon as those that it needs are brought, while the driver may still load Prefect or wait for its
server: Prefect's task runs then find it running, or done. What failed is tried again only when Prefect says so.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from core.patience import pause_s
from core.progress import in_words
from flows.graph.plan import Patience, Plan, StageOutcome, State
from flows.reporting.openlineage import Lineage
from flows.reporting.screen import Screen
from flows.run.workers import Cancelled, Crew, StageFault


class Work:
    """One run of a plan. `bring` may be called from several threads, once a stage and try."""

    def __init__(
        self, plan: Plan, crew: Crew, screen: Screen, patience: Patience, lineage: Lineage | None = None
    ) -> None:
        self.plan, self.crew, self.screen, self.patience = plan, crew, screen, patience
        self._lineage = lineage
        self._outcomes: dict[str, StageOutcome] = {}
        self._shares: dict[str, float] = {}  # of running stages: how much is done, 0 to 1
        self._since: dict[str, float] = {}
        self._doing = ""
        self._faults: dict[str, StageFault] = {}
        self.started = threading.Event()  # its first stage runs
        self._begun: dict[str, Future[StageOutcome]] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(max(plan.width, 1), thread_name_prefix="stage")
        for node in plan.nodes:
            if node.address not in plan.may_run:
                self._end(StageOutcome(node.address, "cached"))
        self._begin_ready()

    def bring(self, address: str, *, tried: int = 0) -> StageOutcome:
        """The outcome of one stage, once it is brought; those it needs already are. A second try waits first."""
        if address not in self._begun:
            return self._outcomes[address]
        if tried == 0:
            return self._begun[address].result()
        delay_s = pause_s(tried, first_s=self.patience.first_delay_s)
        self.screen.say(f"  {address}: try {tried + 1} of {self.patience.retries + 1} in {delay_s:.1f} s")
        self.crew.cancelled.wait(delay_s)
        return self._once(address)

    def may_retry(self, address: str) -> bool:
        """Whether the stage failed for a reason that can pass."""
        fault = self._faults.get(address)
        return bool(fault and fault.transient) and not self.crew.cancelled.is_set()

    def finish(self) -> None:
        """Wait for the stages that run, and for those that begin behind them."""
        while running := [stage for stage in self._begun.values() if not stage.done()]:
            wait(running)

    def skip_rest(self) -> None:
        """Settle the stages that nothing brought: one that they need failed, or the run was ended."""
        self.finish()  # Prefect may have given up a task whose stage goes on
        for node in self.plan.nodes:
            if node.address not in self._outcomes:
                missing = [need for need in node.needs if not self._is_brought(need)]
                state: State = "cancelled" if self.crew.cancelled.is_set() else "skipped"
                self._end(StageOutcome(node.address, state, message=f"it needs {', '.join(missing)}"))

    def outcomes(self) -> list[StageOutcome]:
        """What is known by now, in the graph's order."""
        return [self._outcomes[node.address] for node in self.plan.nodes if node.address in self._outcomes]

    def progress(self) -> tuple[float, str]:
        """Percent of the stages that are done, and what is being done."""
        done = len(self._outcomes) + sum(dict(self._shares).values())
        return 100 * done / max(len(self.plan.nodes), 1), self._doing

    def _is_brought(self, address: str) -> bool:
        outcome = self._outcomes.get(address)
        return outcome is not None and outcome.state in ("ran", "cached")

    def _begin_ready(self) -> None:
        """Begin each stage that needs only what is brought by now."""
        with self._lock:
            for node in self.plan.nodes:
                known = node.address in self._begun or node.address in self._outcomes
                if not known and all(map(self._is_brought, node.needs)):
                    self._begun[node.address] = self._pool.submit(self._once, node.address)

    def _once(self, address: str) -> StageOutcome:
        outcome = self._end(self._tried(address))
        if self._is_brought(address):
            self._begin_ready()
        return outcome

    def _tried(self, address: str) -> StageOutcome:
        self._since[address] = time.monotonic()
        try:
            state = self.crew.run(
                address,
                force=address in self.plan.forced,
                timeout_s=self.patience.stage_timeout_s,
                on_facts=lambda facts: self._heard(address, facts),
            )
        except Cancelled:
            return StageOutcome(address, "cancelled")
        except StageFault as fault:
            self._faults[address] = fault
            return StageOutcome(address, "failed", time.monotonic() - self._since[address], fault.exit_code, str(fault))
        return StageOutcome(address, state, time.monotonic() - self._since[address])

    def _heard(self, address: str, facts: dict[str, Any]) -> None:
        if "started" in facts:
            self.started.set()
            self._since[address] = time.monotonic()  # not while it waited for a worker or for DVC's lock
            if self._lineage is not None:
                self._lineage.started(address)
            reasons = [*self.plan.stale.get(address, ()), *(["forced"] if address in self.plan.forced else [])]
            self.screen.started(address, "; ".join(dict.fromkeys(reasons[:3])))
        elif "waiting" in facts:
            self.screen.say(f"  {address}: waiting, {facts['waiting']}")
        elif "progress" in facts:
            words = in_words(facts)
            self._doing = f"{address}: {words}"
            self.screen.progress(address, words)
            if facts["total"]:
                self._shares[address] = min(facts["done"] / facts["total"], 1.0)

    def _end(self, outcome: StageOutcome) -> StageOutcome:
        self._outcomes[outcome.address] = outcome
        self._shares.pop(outcome.address, None)
        self.screen.ended(outcome)
        if self._lineage is not None:
            self._lineage.ended(outcome)
        return outcome
