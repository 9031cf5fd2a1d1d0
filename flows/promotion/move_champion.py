"""`champion` moves, by hand and back again; what decides over a move, who is told, and what was champion when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from core.errors import BadRequest
from core.schema.evaluation import Gate
from core.workspace import Workspace, is_name
from flows.servers import servers
from registry.promotion import journal, promotion
from registry.promotion.gate import AGAINST_CHAMPION, Verdict
from registry.promotion.ledger import Chain, Entry, champion, champion_entry
from registry.promotion.promotion import Judge, Promotion
from registry.store.connection import asking
from registry.store.versions import RECIPE, Version

EVENT = "headrace.champion"  # .promoted, .refused: Prefect events that deployments and automations can follow


def judge_of(workspace: Workspace) -> Judge:
    """What decides over a promotion in this workspace: the version's evidence against the champion."""

    def judge(version: Version, champion: Version | None) -> Verdict:
        from pipelines.evidence.evidence import review

        return review(version, champion, workspace.var)

    return judge


def promote(
    workspace: Workspace,
    model: str,
    version: str,
    *,
    forced: str | None,
    who: str | None = None,
    why: Sequence[str] = (),
) -> Promotion:
    """Make a version the champion, with evidence or for a stated reason. Raises registry.promotion.promotion.Refused.

    who, why: for the history; by default the user of this process.
    """
    _require_reason(forced)
    moved = promotion.promote(model, version, workspace.var, judge_of(workspace), forced=forced, who=who, why=why)
    announce(workspace, model, moved.version.version, "promoted")
    return moved


def rollback(workspace: Workspace, model: str, *, forced: str | None = None) -> Promotion:
    """Return to the champion before the present one, by the gates of its recipe as it is now, or for a stated reason.

    Raises registry.promotion.promotion.Refused, and BadSettings for a recipe with mistakes.
    """
    _require_reason(forced)

    def judge(version: Version, champion: Version | None) -> Verdict:
        from pipelines.evidence.evidence import review

        return review(version, None, workspace.var, gates=_gates_now(workspace, version))

    moved = promotion.rollback(model, workspace.var, judge, forced=forced)
    announce(workspace, model, moved.version.version, "promoted")
    return moved


def _require_reason(forced: str | None) -> None:
    if forced is not None and not forced.strip():
        raise BadRequest("--force needs the reason, which stays in the history: --force 'the old one leaks names'.")


def _gates_now(workspace: Workspace, version: Version) -> Mapping[str, Gate] | None:
    """The gates of the recipe that made a version, as it stands here now; None where it is not here (any more).

    Without the comparison with the champion: that one is left for a reason that its figures need not show.
    """
    recipe = version.tags.get(RECIPE, "")
    file = workspace.job("recipe", recipe).settings_file if is_name(recipe) else None
    if file is None or not file.exists():
        return None
    from pipelines.recipes.read import read_recipe

    return {name: gate for name, gate in read_recipe(file).gates.items() if name != AGAINST_CHAMPION}


def history(workspace: Workspace, model: str) -> Chain:
    """The ledger of a model. Raises BadRequest for a model that never had an entry."""
    with asking(workspace.var) as client:
        chain = journal.read(client, model)
    if not chain.entries and not chain.faults:
        raise BadRequest(f"no model {model!r} has a history here. `headrace status` names the models.")
    return chain


def history_lines(chain: Chain, at: datetime | None) -> Iterator[str]:
    """The ledger for a person; with a time, who was champion then and why."""
    if at is not None:
        entry = champion_entry(chain.entries, at)
        yield f"champion at {at.isoformat(timespec='seconds')}: {_version(entry.to) if entry else 'none'}"
        if entry is not None:
            yield _line(entry)
        return
    for entry in chain.entries:
        yield _line(entry)
    yield f"champion: {_version(chain.champion) if chain.champion else 'none'}"
    for fault in chain.faults:
        yield f"FAULT: {fault}"


def history_document(chain: Chain, at: datetime | None) -> dict[str, Any]:
    """The same for scripts."""
    return {
        "champion": champion(chain.entries, at),
        "at": at.isoformat() if at else None,
        "entries": [asdict(entry) for entry in chain.entries],
        "faults": list(chain.faults),
    }


def parse_time(text: str) -> datetime:
    """A time as people write it: ISO 8601, local where it names no zone. Raises BadRequest."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        raise BadRequest(f"--at {text!r}: not a time. Write 2026-11-24, or 2026-11-24T15:00+01:00.") from None


def announce(workspace: Workspace, model: str, version: str, what: str, why: str = "") -> None:
    """A Prefect event, where a Prefect server of this workspace is up; nothing hangs on it."""
    api = servers.prefect_running(workspace)
    if api is None:
        return
    with servers.prefect_settings(workspace, api):
        from prefect.events import emit_event

        emit_event(
            f"{EVENT}.{what}",
            resource={"prefect.resource.id": f"headrace.model.{model}", "prefect.resource.name": model},
            payload={"model": model, "version": version, "why": why, "workspace": str(workspace.root)},
        )


def _line(entry: Entry) -> str:
    words = f"{entry.number:>3}  {entry.at[:19]}Z  {entry.action:<11} "
    words += f"{_version(entry.before)} -> {_version(entry.to)}" if entry.action != "registered" else _version(entry.to)
    evidence = f"evidence {entry.evidence[:12]}" if entry.evidence else "no evidence"
    forced = f", FORCED: {entry.forced}" if entry.forced is not None else ""
    why = f", {entry.why[0]}" if entry.action == "refused" and entry.why else ""
    return f"{words}  by {entry.who}, {evidence}{forced}{why}"


def _version(number: str | None) -> str:
    return f"version {number}" if number else "none"
