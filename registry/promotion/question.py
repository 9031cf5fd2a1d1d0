"""Versions that a person decides over: what asks is a tag, so that everyone on a shared server sees one question.

A version whose recipe says `promote: approval` is asked about once, when its gates first pass.
flows/promotion/approval_run.py puts the question on Prefect's page; promoting the version by hand answers it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.promotion.ledger import Chain
from registry.promotion.promotion import APPROVAL, ASKED, Grounds, answered, record, whole
from registry.store.connection import asking, exclusive
from registry.store.embedded_reader import reading
from registry.store.versions import EVIDENCE_HASH, Version, read_versions

if TYPE_CHECKING:
    from mlflow import MlflowClient

_VOID = "withdrawn"  # what an answer begins with that lets the version be asked about again


@dataclass(frozen=True)
class Question:
    """May this version be champion? evidence: hash of the bundle that is to be read before answering."""

    name: str
    version: str
    evidence: str | None

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


def questions(var: Path) -> list[Question]:
    """Every question that nobody answered yet. Raises Outage."""
    with reading(var) as client:
        found = client.search_model_versions(f"tags.{APPROVAL} = '{ASKED}'", max_results=1000)
        return [Question(v.name, str(v.version), v.tags.get(EVIDENCE_HASH)) for v in found]


def ask(client: MlflowClient, mine: Version, chain: Chain, *, wanted: bool) -> None:
    """Ask about a version that was just registered, once; the questions about older versions are void then.

    wanted: whether its recipe asks for approval. A question whose gates do not pass any more is withdrawn.
    Call it inside exclusive().
    """
    if not (wanted and mine.passed):
        answered(client, mine, f"{_VOID}: its gates refuse it now" if wanted else f"{_VOID}: its recipe asks nobody")
        return
    told = mine.tags.get(APPROVAL)
    promoted = any(entry.to == mine.version and entry.action == "promoted" for entry in chain.current)
    if promoted or not (told is None or told.startswith(_VOID)):
        return
    others = read_versions(client, mine.name)
    newer = [other for other in others if other.number > mine.number]
    if any(other.version == chain.champion or other.tags.get(APPROVAL) == ASKED for other in newer):
        return
    for other in others:
        answered(client, other, f"superseded by version {mine.version}")
    client.set_model_version_tag(mine.name, mine.version, APPROVAL, ASKED)


def decline(name: str, number: str, var: Path, *, who: str, reason: str) -> None:
    """Record that a person said no. Nothing when the question was answered otherwise. Raises BrokenLedger."""
    with exclusive(var), asking(var) as client:
        if (version := _asked(client, name, number)) is not None:
            words = f"rejected by {who}: {reason}"
            record(client, var, version, whole(client, name), "refused", Grounds([words], who))
            answered(client, version, words)


def close(name: str, number: str, var: Path, words: str) -> None:
    """Say what came of a question, unless it was answered."""
    with exclusive(var), asking(var) as client:
        if (version := _asked(client, name, number)) is not None:
            answered(client, version, words)


def _asked(client: MlflowClient, name: str, number: str) -> Version | None:
    found = read_versions(client, name)
    return next((v for v in found if v.version == number and v.tags.get(APPROVAL) == ASKED), None)
