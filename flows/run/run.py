"""`headrace run`: recipes or indexes -> up to date, as one Prefect flow run over DVC's graph."""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from core.errors import GATE_REFUSED, BadRequest, Outage
from core.workspace import Kind, Workspace
from flows.catalog.check import require_ready
from flows.catalog.live import chosen
from flows.catalog.receipt_check import lost, refused
from flows.catalog.stale_code import with_files
from flows.graph.graph import Graph, StageNode, bring_code, select, without_code
from flows.graph.plan import INTERRUPTED, Outcome, Patience, Plan, StageOutcome
from flows.reporting.notices import tell_outcome
from flows.reporting.openlineage import lineage_of
from flows.reporting.screen import Screen
from flows.run.forked_stages import libraries_of
from flows.run.work import Work
from flows.run.workers import Crew
from flows.servers import servers
from flows.servers.turns import turns
from pipelines.driver import FORCED
from registry.store import signing

_FIRST_STAGE_S = 2.0


def run(
    workspace: Workspace,
    kind: Kind,
    names: Sequence[str] = (),
    *,
    force: str | None = None,
    quiet: bool = False,
    patience: Patience | None = None,
) -> Outcome:
    """Bring live recipes or indexes up to date; every one of the kind without names.

    force: a stage to run though nothing that it reads changed. quiet: nothing on stderr.
    Waits for another run of one of them. With nothing stale it starts no process and no flow run.
    Tells HEADRACE_NOTIFY_URL of what failed or was refused.
    Raises BadRequest for a name that is not live, a stage that does not exist or a key that cannot be used; faults of
    stages are in the outcome.
    """
    patience = patience or Patience.from_environment()
    signing.require_settings()
    names = [job.name for job in chosen(workspace, names, kind)]
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])  # DVC's and our locks show it to those who wait
    with Screen(quiet=quiet) as screen:
        graph = Graph(workspace.root)
        others = {(node.kind, node.name) for node in select(graph.nodes, kind, names) if node.kind}
        jobs = {(kind, name) for name in names} | others
        with turns(workspace, jobs, command=command, say=screen.say) as waited:
            graph = bring_code(Graph(workspace.root) if waited else graph, say=screen.say)
            plan = _plan(workspace, graph, kind, names, force, screen)
            if not plan.may_run:
                screen.say(f"nothing to do: {', '.join(names) or 'nothing is live'} up to date")
                stages = [StageOutcome(node.address, "cached") for node in plan.nodes]
                outcome = _outcome(workspace, plan, stages, nothing_to_do=True)
            else:
                require_ready(workspace, kind, names)
                outcome = _run(workspace, plan, screen, patience, command)
            tell_outcome(workspace, kind, names, outcome)
            return outcome


def _plan(
    workspace: Workspace, graph: Graph, kind: Kind, names: Sequence[str], force: str | None, screen: Screen
) -> Plan:
    with ThreadPoolExecutor(1) as beside:  # servers answer, and their clients load, while DVC looks at files
        receipts = beside.submit(lost, workspace, kind, names)
        nodes = without_code(select(graph.nodes, kind, names))
        forced = _forced(nodes, kind, names, force)
        addresses = [node.address for node in nodes]
        stale = with_files(workspace, addresses, graph.stale(addresses, say=screen.say))
        gone = receipts.result()
    again = {address: reason for address, reason in gone.items() if address not in stale}
    return Plan(kind, names, nodes, {**{at: [why] for at, why in again.items()}, **stale}, forced | set(again), force)


def _forced(nodes: Sequence[StageNode], kind: Kind, names: Collection[str], force: str | None) -> frozenset[str]:
    if force is None:
        return frozenset()
    own = [node for node in nodes if node.kind == kind and node.name in names]
    stages = list(dict.fromkeys(node.stage for node in own))
    if force not in stages:
        raise BadRequest(f"--force {force}: no such stage. Allowed: {', '.join(stages)}.")
    return frozenset(node.address for node in own if node.stage == force)


def _run(workspace: Workspace, plan: Plan, screen: Screen, patience: Patience, command: str) -> Outcome:
    size = min(os.cpu_count() or 1, plan.width)
    logs, env = workspace.var / "logs" / "stages", {FORCED: plan.force or ""}
    libraries = libraries_of(node.stage for node in plan.nodes if node.address in plan.may_run)
    with (
        Crew(workspace.root, logs, size=size, title=command, env=env, libraries=libraries) as crew,
        lineage_of(workspace.root, screen.say) as lineage,
    ):
        try:
            with crew.ending_on_signals():
                work = Work(plan, crew, screen, patience, lineage)
                return _drive(workspace, work)
        except Outage:
            screen.say("a server failed: the stages go on without Prefect's page")
            work.finish()
            raise
        except KeyboardInterrupt:  # before there is a flow run, or the second one
            crew.cancel()
            stages = [StageOutcome(node.address, "cancelled") for node in plan.nodes]
            return Outcome(stages, INTERRUPTED)


def _drive(workspace: Workspace, work: Work) -> Outcome:
    plan = work.plan
    work.started.wait(_FIRST_STAGE_S)  # it needs the processors more than Prefect's import does
    api = servers.prefect_api(workspace)
    servers.await_users_server()
    servers.start_mlflow_page(workspace)
    with _quick_import(), servers.prefect_environment(workspace, api):
        from flows.reporting.artifacts import leave_artifacts
        from flows.run.flow import drive
    if work.crew.cancelled.is_set():
        raise KeyboardInterrupt
    with servers.prefect_settings(workspace, api):
        flow_run = drive(
            work,
            lambda: leave_artifacts(workspace, plan, work.outcomes(), mlflow=servers.start_mlflow_page(workspace)),
            lambda: refused(workspace, plan.kind, plan.names),
        )
    outcome = _outcome(workspace, plan, work.outcomes())
    outcome.links["run"] = f"{servers.pages(workspace)['prefect']}/runs/flow-run/{flow_run}"
    return outcome


def _outcome(workspace: Workspace, plan: Plan, stages: list[StageOutcome], *, nothing_to_do: bool = False) -> Outcome:
    gates = refused(workspace, plan.kind, plan.names)
    failed = next((stage.code for stage in stages if stage.state == "failed"), 0)
    cancelled = any(stage.state == "cancelled" for stage in stages)
    code = INTERRUPTED if cancelled else failed or (GATE_REFUSED if gates else 0)
    return Outcome(stages, code, nothing_to_do, servers.pages(workspace), gates)


@contextmanager
def _quick_import() -> Iterator[None]:
    """Import something large without collecting garbage meanwhile, nor looking through it ever after.

    For Prefect on two cores: 0.25 s less at the start and 0.2 s less at the end of the process.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
