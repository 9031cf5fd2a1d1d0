"""What a run is to do, and what came of it: plain records between flows/run/run.py and flows/run/flow.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from core.patience import seconds_in
from core.workspace import Kind
from flows.graph.graph import StageNode, behind

State = Literal["ran", "cached", "failed", "skipped", "cancelled"]
INTERRUPTED = 130  # what shells say of Ctrl-C
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Patience:
    """How long to wait for a stage, and how often to try it again after a fault that can pass."""

    stage_timeout_s: float = _DAY_S
    retries: int = 3
    first_delay_s: float = 2.0  # doubled at each try

    @staticmethod
    def from_environment() -> Patience:
        """Raises BadRequest for a time-out that is no positive number."""
        return Patience(seconds_in("HEADRACE_STAGE_TIMEOUT_S", _DAY_S, lambda seconds: seconds > 0, " above 0"))


@dataclass(frozen=True)
class Plan:
    """The stages of one run in order, and which of them have a reason to run."""

    kind: Kind
    names: Sequence[str]
    nodes: Sequence[StageNode]
    stale: Mapping[str, Sequence[str]]  # address -> reasons
    forced: frozenset[str] = frozenset()
    force: str | None = None

    @cached_property
    def may_run(self) -> set[str]:
        """Stages with a reason, and those behind them: DVC decides when it comes to them."""
        return behind(self.nodes, {*self.stale, *self.forced})

    @cached_property
    def width(self) -> int:
        """How many of these stages could run at once, taking each as early as it can."""
        depth: dict[str, int] = {}
        for node in self.nodes:
            if node.address in self.may_run:
                depth[node.address] = 1 + max((depth[need] for need in node.needs if need in depth), default=0)
        return max(Counter(depth.values()).values(), default=0)


@dataclass(frozen=True)
class StageOutcome:
    address: str
    state: State
    seconds: float = 0.0
    code: int = 0
    message: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    exit_code: 0 done or nothing to do, 1 to 3 the first failed stage's, 4 a gate refused, 130 ended by a person.
    """

    stages: list[StageOutcome]
    exit_code: int
    nothing_to_do: bool = False
    links: dict[str, str] = field(default_factory=dict)
    refused: dict[str, list[str]] = field(default_factory=dict)  # name -> reasons of its gates
