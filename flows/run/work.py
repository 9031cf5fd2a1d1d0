"""The stages of one plan, each brought up to date by the crew, and what came of them. Knows nothing of Prefect.

Stages that wait for nothing begin at once, while the driver still loads Prefect: its task runs then find them running.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
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
        self._began: dict[str, float] = {}
        self._doing = ""
        self._faults: dict[str, StageFault] = {}
        may_run = plan.may_run
        early = [n.address for n in plan.nodes if n.address in may_run and not may_run.intersection(n.needs)]
        pool = ThreadPoolExecutor(max(len(early), 1), thread_name_prefix="early")
        self._early: dict[str, Future[StageOutcome]] = {at: pool.submit(self._once, at) for at in early}
        pool.shutdown(wait=False)

    def bring(self, address: str, *, tried: int = 0) -> StageOutcome:
        """Bring one stage up to date; those it needs already are. A second try waits first."""
        if address not in self.plan.may_run:
            return self._end(StageOutcome(address, "cached"))
        if (begun := self._early.pop(address, None)) is not None:
            return self._end(begun.result())
        if tried > 0:
            delay_s = pause_s(tried, first_s=self.patience.first_delay_s)
            self.screen.say(f"  {address}: try {tried + 1} of {self.patience.retries + 1} in {delay_s:.1f} s")
            self.crew.cancelled.wait(delay_s)
        return self._end(self._once(address))

    def may_retry(self, address: str) -> bool:
        """Whether the stage failed for a reason that can pass."""
        fault = self._faults.get(address)
        return bool(fault and fault.transient) and not self.crew.cancelled.is_set()

    def skip_rest(self) -> None:
        """Settle the stages that nothing brought: one that they need failed, or the run was ended."""
        for node in self.plan.nodes:
            if node.address not in self._outcomes:
                missing = [need for need in node.needs if self._outcomes[need].state not in ("ran", "cached")]
                state: State = "cancelled" if self.crew.cancelled.is_set() else "skipped"
                self._end(StageOutcome(node.address, state, message=f"it needs {', '.join(missing)}"))

    def outcomes(self) -> list[StageOutcome]:
        """What is known by now, in the graph's order."""
        return [self._outcomes[node.address] for node in self.plan.nodes if node.address in self._outcomes]

    def progress(self) -> tuple[float, str]:
        """Percent of the stages that are done, and what is being done."""
        done = len(self._outcomes) + sum(dict(self._shares).values())
        return 100 * done / max(len(self.plan.nodes), 1), self._doing

    def _once(self, address: str) -> StageOutcome:
        self._began[address] = time.monotonic()
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
            return StageOutcome(address, "failed", time.monotonic() - self._began[address], fault.exit_code, str(fault))
        return StageOutcome(address, state, time.monotonic() - self._began[address])

    def _heard(self, address: str, facts: dict[str, Any]) -> None:
        if "started" in facts:
            self._began[address] = time.monotonic()  # not while it waited for a worker or for DVC's lock
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
