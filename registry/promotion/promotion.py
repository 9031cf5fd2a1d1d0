"""Who is champion: every move of the alias has its entry in the ledger, and a move without evidence is undone.

The ledger's last accepted champion is what is served. An entry is written before the alias moves, and the head says
when it has moved: what was cut short in between is finished by whoever comes next.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import GATE_REFUSED, BadData, BadRequest, HeadraceError
from core.workspace import now, somebody
from registry.promotion import journal
from registry.promotion.card import shortened, with_forced
from registry.promotion.gate import Verdict
from registry.promotion.ledger import REMOVED, Action, Chain, Entry, champion_before
from registry.store import versions
from registry.store.connection import asking, exclusive
from registry.store.ledger_runs import whereabouts
from registry.store.versions import Version

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LONGEST_TAG = 1000  # characters
_SOMEBODY = "somebody, in MLflow"  # which has no users of its own
_REMOVED = Verdict.refused("alias", "it was removed; a model that has a champion keeps one")
REFUSED = "promotion_refused"  # tag of a version: why the alias was taken back from it
# Tag of a version that a person decides over (registry/promotion/question.py): ASKED, or what came of it.
APPROVAL = "approval"
ASKED = "asked"

Judge = Callable[[Version, Version | None], Verdict]  # a version and the champion -> may it take its place?


class Refused(HeadraceError):
    """The evidence does not allow the promotion."""

    exit_code = GATE_REFUSED


class BrokenLedger(BadData):
    """Somebody altered or removed entries: what is champion cannot be known."""


@dataclass(frozen=True)
class Grounds:
    """What the history says of an entry. who: by default the user of this process. forced: why without evidence."""

    why: Sequence[str] = ()
    who: str | None = None
    forced: str | None = None


_NONE = Grounds()


@dataclass(frozen=True)
class Promotion:
    """`before` was champion, `version` is now."""

    version: Version
    before: str | None


@dataclass(frozen=True)
class Settled:
    """What became of an alias that somebody had moved to `asked`: accepted, or back at `champion`."""

    model: str
    asked: str | None
    champion: str | None
    accepted: bool
    why: Sequence[str]


def promote(
    name: str,
    which: str,
    var: Path,
    judge: Judge,
    *,
    forced: str | None = None,
    who: str | None = None,
    why: Sequence[str] = (),
) -> Promotion:
    """Make a version champion, with evidence, or for a stated reason without.

    who, why: for the history, beside what the evidence says; by default the user of this process.
    Raises BadRequest for an unknown version or one whose files were freed, Refused (and records it) when the evidence
    does not allow it, BadData when it is forced and no trusted key signed it, BrokenLedger when the ledger is not whole
    and nothing is forced.
    """
    with exclusive(var), asking(var) as client:
        chain = whole(client, name, broken_is_fine=forced is not None)
        found = versions.read_versions(client, name)
        chosen = versions.choose(name, which, found, client)
        versions.require_files(chosen)
        if chosen.version == chain.champion and not chain.faults:
            _move(client, name, chosen.version)
            answered(client, chosen, "promoted")
            return Promotion(chosen, chain.champion)
        if forced is not None:
            versions.require_signed(chosen, var)
        verdict = None if forced is not None else _judged(chosen, chain, found, judge, var)
        if verdict is not None and not verdict.passed:
            record(client, var, chosen, chain, "refused", Grounds([*_reasons(verdict), *why], who))
            raise Refused(_refusal(verdict, f"{chosen.called} is not promoted", f"promote {name} {chosen.version}"))
        reasons = [*why, *(_reasons(verdict) if verdict else ())]
        accept(client, var, chosen, chain, Grounds(reasons, who, forced))
        return Promotion(chosen, chain.champion)


def rollback(name: str, var: Path, judge: Judge, *, forced: str | None = None) -> Promotion:
    """Return to the champion before the present one, whose evidence is judged again, or for a stated reason is not.

    Raises BadRequest when there was none, or it was deleted; Refused (and records it) when the evidence fails.
    """
    with exclusive(var), asking(var) as client:
        chain = whole(client, name)
        before = champion_before(chain.entries)
        found = {version.version: version for version in versions.read_versions(client, name)}
        if before is None or before not in found:
            what = f"version {before}, which is no more" if before else "none"
            raise BadRequest(f"{name}: the champion before {chain.champion or 'nobody'} was {what}.")
        versions.require_files(found[before])
        versions.require_signed(found[before], var)
        verdict = None if forced is not None else _judged(found[before], chain, list(found.values()), judge, var)
        reasons = _reasons(verdict) if verdict else ()
        if verdict is not None and not verdict.passed:
            record(client, var, found[before], chain, "refused", Grounds(reasons))
            what = f"{found[before].called}, the champion before, is not what its gates ask for today"
            raise Refused(_refusal(verdict, what, f"rollback {name}"))
        accept(client, var, found[before], chain, Grounds(reasons, forced=forced), action="rolled back")
        return Promotion(found[before], chain.champion)


def settle(name: str, var: Path, judge: Judge) -> Settled | None:
    """Judge an alias that somebody moved: accept and record it, or put it back. None when it stands as recorded.

    Raises BrokenLedger when the ledger is not whole.
    """
    with exclusive(var), asking(var) as client:
        chain = whole(client, name)
        asked = versions.raw_champion(client, name)
        found = {version.version: version for version in versions.read_versions(client, name)}
        if asked == chain.champion or (asked is None and chain.champion not in found):
            return None
        verdict = _judged(found[asked], chain, list(found.values()), judge, var) if asked is not None else _REMOVED
        why = _reasons(verdict)
        if asked is not None and verdict.passed:
            accept(client, var, found[asked], chain, Grounds(why, _SOMEBODY))
        else:
            _put_back(client, var, chain, found, asked, why)
        return Settled(name, asked, asked if verdict.passed else chain.champion, verdict.passed, why)


def accept(
    client: MlflowClient, var: Path, version: Version, chain: Chain, grounds: Grounds, *, action: Action = "promoted"
) -> None:
    """Record a move and move the alias. Call it inside exclusive()."""
    entry = record(client, var, version, chain, action, grounds)
    if grounds.forced is not None:
        described = client.get_model_version(version.name, version.version).description or ""
        client.update_model_version(version.name, version.version, shortened(with_forced(described, [entry])))
    _move(client, version.name, version.version)
    answered(client, version, f"{action} by {entry.who}")


def answered(client: MlflowClient, version: Version, words: str) -> None:
    """Say what came of a version that somebody was asked to approve; nothing for one that waits for nobody."""
    if version.tags.get(APPROVAL) == ASKED:
        client.set_model_version_tag(version.name, version.version, APPROVAL, words[:_LONGEST_TAG])


def anchor(client: MlflowClient, var: Path, version: Version, chain: Chain) -> None:
    """Record a version with the hash of its evidence, once: later it can be told whether that was edited."""
    mine = ("registered", version.version, version.tags.get(versions.EVIDENCE_HASH), version.model_hash)
    if mine not in [(entry.action, entry.to, entry.evidence, entry.model_hash) for entry in chain.current]:
        record(client, var, version, chain, "registered")


def note_removal(client: MlflowClient, name: str, var: Path) -> None:
    """Record that a model which the ledger knows is not in the registry, before it is registered anew: its next version
    is another one than the first that had that number, and nobody is champion. Call it inside exclusive().
    """
    chain = journal.read(client, name)
    if chain.gone and chain.current:
        words = f"{whereabouts(client, name)}; what is registered next begins at version 1"
        journal.append(client, var, Entry(
            model=name, number=0, at=now(), who=somebody(), action=REMOVED, before=chain.champion, to=None,
            model_hash=None, evidence=None, why=journal.short([words]), acknowledged=journal.short(chain.faults),
        ))  # fmt: skip


def whole(client: MlflowClient, name: str, *, broken_is_fine: bool = False) -> Chain:
    """The chain, what was cut short in it finished. Raises BrokenLedger. Call it inside exclusive()."""
    chain = journal.caught_up(client, name)
    if chain.faults and not broken_is_fine:
        faults = "; ".join(chain.faults[:5])
        raise BrokenLedger(
            f"the ledger of {name} is not whole: {faults}. `headrace history {name} --verify` says all; what is "
            f"champion cannot be known until `headrace promote {name} VERSION --force REASON` records it anew."
        )
    if chain.head is not None and not chain.head.settled and chain.champion is not None:
        _move(client, name, chain.champion)
    return chain


def _judged(version: Version, chain: Chain, found: Sequence[Version], judge: Judge, var: Path) -> Verdict:
    """The verdict over the evidence as it was registered."""
    if (gone := versions.freed(version)) is not None:
        return Verdict.refused("files", gone)
    known = [entry for entry in chain.current if entry.action == "registered" and entry.to == version.version]
    evidence = version.tags.get(versions.EVIDENCE_HASH)
    if not known or (known[-1].evidence, known[-1].model_hash) != (evidence, version.model_hash):
        why = "the ledger knows other evidence of it" if known else "the ledger does not know it: register it again"
        return Verdict.refused("evidence", why)
    if (fault := versions.distrusted(version, var)) is not None:
        return Verdict.refused("signature", fault)
    holder = next((each for each in found if each.version == chain.champion and each != version), None)
    return judge(version, holder)


def record(
    client: MlflowClient, var: Path, version: Version, chain: Chain, action: Action, grounds: Grounds = _NONE
) -> Entry:
    """Add an entry about a version to the ledger. Call it inside exclusive()."""
    entry = Entry(
        model=version.name, number=0, at=now(), who=grounds.who or somebody(), action=action,
        before=chain.champion, to=version.version, model_hash=version.model_hash,
        evidence=version.tags.get(versions.EVIDENCE_HASH), forced=grounds.forced, why=journal.short(grounds.why),
        acknowledged=journal.short(chain.faults),
    )  # fmt: skip
    return journal.append(client, var, entry)


def _move(client: MlflowClient, name: str, version: str) -> None:
    if versions.raw_champion(client, name) != version:
        client.set_registered_model_alias(name, versions.CHAMPION, version)
    journal.settled(client, name)


def _put_back(
    client: MlflowClient, var: Path, chain: Chain, found: dict[str, Version], asked: str | None, why: Sequence[str]
) -> None:
    subject = found[asked] if asked is not None else found[str(chain.champion)]
    record(client, var, subject, chain, "refused", Grounds(why, _SOMEBODY))
    if asked is not None:
        client.set_model_version_tag(subject.name, asked, REFUSED, f"{now()}\n" + "\n".join(why))
    if chain.champion in found:
        client.set_registered_model_alias(subject.name, versions.CHAMPION, chain.champion)
    else:
        client.delete_registered_model_alias(subject.name, versions.CHAMPION)


def _reasons(verdict: Verdict) -> tuple[str, ...]:
    return tuple(str(reason) for reason in verdict.reasons)


def _refusal(verdict: Verdict, what: str, command: str) -> str:
    """What is said to a person. command: what they asked for."""
    reasons = "".join(f"\n  {reason}" for reason in verdict.reasons if not reason.passed)
    return f"{what}:{reasons}\n`headrace {command} --force REASON` does it all the same, on the record."
