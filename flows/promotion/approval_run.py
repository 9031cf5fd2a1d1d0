"""A version that waits for a person is a paused flow run on Prefect's page; what is answered there is done.

The run has no process: it is made, paused and ended over Prefect's API, so that it holds no slot while somebody thinks
for days, and nothing is lost when `headrace schedule` is killed in between. What waits stands in the registry
(registry/promotion/question.py), what was answered at Prefect; each look brings the two together. Imports Prefect.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, FlowRunCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.input import RunInput, create_flow_run_input, keyset_from_base_key, read_flow_run_input
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Completed, Paused, Pending, Running, to_state_create
from pydantic import Field

from core.atomic_files import to_json
from core.errors import BadRequest, HeadraceError, Outage
from core.tables.spelling import cell, prose
from core.workspace import Workspace
from flows.promotion.move_champion import announce, promote
from flows.reporting.prefect_once import latest_runs, no_answer
from flows.reporting.refused_state import refusal
from flows.servers import servers
from registry.promotion.card import table
from registry.promotion.gate import shown
from registry.promotion.promotion import Refused
from registry.promotion.question import Question, close, decline
from registry.store import versions
from registry.store.connection import EMBEDDED, server_name
from registry.version import evidence_files
from registry.version.runs import CARD

FLOW = "headrace-approval"
_KEYS = keyset_from_base_key("approval")
_MOST_METRICS, _MOST_LABELS = 40, 100  # that the page shows
_OPEN = ["PENDING", "RUNNING", "PAUSED"]


class Decision(RunInput):
    """What Prefect's page asks for."""

    decision: Literal["approve", "reject"]
    reason: str = Field("", description="Stays in the model's history.")
    who: str = Field("", description="Your name: Prefect does not know it. Stays in the history, too.")


def bring_together(workspace: Workspace, api: str, waiting: Sequence[Question], say: Callable[[str], None]) -> bool:
    """Ask what waits, do what was answered, and end the requests that are void. Whether any is open still.

    api: of the Prefect server, which is up. What a fault leaves undone, the next look does. Raises Outage.
    """
    with servers.prefect_settings(workspace, api), temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        try:
            with get_client(sync_client=True) as client:
                return _bring_together(_Desk(workspace, client, say), waiting)
        except (httpx.HTTPError, RuntimeError) as error:
            if (words := no_answer(error)) is None:
                raise
            raise Outage(f"approvals wait for Prefect's server {api}: {words}") from None


def _bring_together(desk: _Desk, waiting: Sequence[Question]) -> bool:
    runs = {run.idempotency_key: run for run in desk.open_runs()}
    for question in waiting:
        run = runs.pop(desk.key(question), None) or desk.make_run(question)
        try:
            desk.attend(question, run)
        except Outage:
            raise
        except HeadraceError as fault:  # of this model; the others go on
            desk.say(f"{question}: {fault}")
    for run in runs.values():
        desk.client.set_flow_run_state(run.id, Cancelled(message="answered elsewhere, or superseded"))
    return bool(waiting)


@dataclass(frozen=True)
class _Desk:
    workspace: Workspace
    client: SyncPrefectClient
    say: Callable[[str], None]

    @property
    def registry(self) -> str:
        """A tag of its requests: whose questions they are."""
        name = server_name()
        return f"registry:{_digest(str(self.workspace.root) if name == EMBEDDED else name)}"

    def key(self, question: Question) -> str:
        """One request a question and server, however often it is made; other evidence is another question."""
        return _digest(json.dumps([self.registry, question.name, question.version, question.evidence]))

    def open_runs(self) -> list[FlowRun]:
        return latest_runs(self.client, FLOW, _OPEN, tags={"all_": [self.registry]})

    def make_run(self, question: Question) -> FlowRun:
        """The request of a question; the one that there is, when it was ended and not answered."""
        asked = FlowRunCreate(
            flow_id=self.client.create_flow_from_name(FLOW),
            name=f"{question}: champion?",
            parameters={"model": question.name, "version": question.version},
            tags=["headrace", self.registry],
            state=to_state_create(Pending()),
            idempotency_key=self.key(question),
        )
        reply = self.client.request("POST", "/flow_runs/", json=asked.model_dump(mode="json", exclude_unset=True))
        return FlowRun.model_validate(reply.json())

    def attend(self, question: Question, run: FlowRun) -> None:
        """Put the question, or do what was answered."""
        state = run.state
        if state is not None and state.is_paused():
            return
        if state is None or state.is_pending() or state.is_running():
            said = read_flow_run_input(_KEYS["response"], flow_run_id=run.id)
            if said is None:
                self._put(question, run)
            else:
                self.client.set_flow_run_state(run.id, self._do(question, Decision.model_validate(said)))
            return
        decline(question.name, question.version, self.workspace.var, who=_name(""), reason=f"ended as {state.name}")

    def _put(self, question: Question, run: FlowRun) -> None:
        """Pause the run with the evidence on its page. Done again where it was cut short."""
        if run.state is None or not run.state.is_running():
            self.client.set_flow_run_state(run.id, Running())
        if read_flow_run_input(_KEYS["schema"], flow_run_id=run.id) is None:
            short, whole = _pages(self.workspace, question)
            key = f"approval-{re.sub('[^a-z0-9]+', '-', question.name.lower()).strip('-')}"
            artifact = ArtifactCreate(
                key=key, type="markdown", data=whole, description=f"{question}: card and evidence", flow_run_id=run.id
            )
            self.client.create_artifact(artifact)
            if read_flow_run_input(_KEYS["description"], flow_run_id=run.id) is None:
                create_flow_run_input(_KEYS["description"], short, flow_run_id=run.id)
            Decision.save(_KEYS, flow_run_id=run.id)
        paused: State[Any] = Paused(message="approve or reject")
        paused.state_details.run_input_keyset = {str(name): key for name, key in _KEYS.items()}
        self.client.set_flow_run_state(run.id, paused)
        at = f"{servers.pages(self.workspace)['prefect']}/runs/flow-run/{run.id}"
        self.say(f"{question} waits for approval: {servers.link(self.workspace, at)}")
        announce(self.workspace, question.name, question.version, "asked", at)

    def _do(self, question: Question, said: Decision) -> State[Any]:
        """What the run ends in."""
        who, var = _name(said.who), self.workspace.var
        reason = said.reason.strip() or "no reason given"
        if said.decision == "reject":
            decline(question.name, question.version, var, who=who, reason=reason)
            self.say(f"{question} was rejected by {who}: {reason}")
            return Completed(name="Rejected", message=f"by {who}: {reason}")
        try:
            words = [f"approved by {who}: {reason}"]
            promote(self.workspace, question.name, question.version, forced=None, who=who, why=words)
        except (Refused, BadRequest) as fault:
            close(question.name, question.version, var, f"approved by {who}, and refused: {fault}")
            self.say(f"{question} was approved by {who}, and refused: {fault}")
            return refusal(str(fault))
        self.say(f"{question} is champion, approved by {who}")
        return Completed(name="Approved", message=f"champion, approved by {who}: {reason}")


def _pages(workspace: Workspace, question: Question) -> tuple[str, str]:
    """What is read at the question, and the artifact: card and bundle. As they were registered, or neither."""
    version = versions.resolve(question.name, question.version, workspace.var)
    edited = f"**{question}: its evidence is gone, or was edited since it was registered.** It cannot be promoted."
    try:
        kept = evidence_files.read(version, workspace.var)
        told, card = kept.told, kept.file(CARD)
    except evidence_files.Altered as fault:
        edited, told = f"{edited} {fault}", None
    if told is None or version.tags.get(versions.EVIDENCE_HASH) != question.evidence:
        return edited, edited
    link = versions.page_link(servers.pages(workspace).get("mlflow"), version)
    champion = versions.champion(question.name, workspace.var)
    lines = _evidence(question, told, champion.version if champion else None, link)
    text = card.read_text(encoding="utf-8") if card else ""
    if len(labels := told.get("labels", {})) > _MOST_LABELS:
        told = {**told, "labels": f"{len(labels):,} figures, in evidence.json"}
    return "\n".join(lines), f"{text}\n\n## Evidence\n\n```json\n{to_json(told)}\n```\n"


def _evidence(question: Question, told: Mapping[str, Any], champion: str | None, link: str | None) -> Iterator[str]:
    """The evidence bundle for a person, as lines of Markdown. told: evidence.json; champion: of this moment."""
    test, rival = told["test"], told["comparisons"]["champion"]
    instead = f" in place of version {champion}" if champion else ""
    yield f"**May {question} be champion{instead}?** Approved, its evidence is judged again before it is.\n"
    columns = ("gate", "value", "bound", "outcome", "why")
    reasons = [{**reason, "value": shown(reason["value"])} for reason in told["verdict"]["reasons"]]
    gates = table(
        columns, [[cell(reason["gate"]), *(prose(reason[each]) for each in columns[1:])] for reason in reasons]
    )
    yield "\n".join([*gates, ""]) if reasons else "Its recipe has no gates.\n"
    if "better_by" in rival:
        interval = f"[{shown(rival['lower'])}, {shown(rival['upper'])}]"
        yield f"{rival['metric']}, difference to {rival['other']}: {shown(rival['better_by'])} {interval}\n"
    metrics = [(cell(name), shown(value)) for name, value in list(told["metrics"].items())[:_MOST_METRICS]]
    more = [f"{left:,} more in evidence.json.", ""] if (left := len(told["metrics"]) - len(metrics)) else []
    yield "\n".join([*table(("metric on the test split", "value"), metrics), "", *more])
    yield f"{test['rows']:,} test rows, `{test['hash'][:12]}`; this is model {test['asked']} that they judge."
    yield f"Evidence `{(question.evidence or 'none')[:12]}`." + (f" [{question} in MLflow]({link})" if link else "")


def _name(given: str) -> str:
    return f"{given.strip()[:80] or 'somebody'}, in Prefect"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
