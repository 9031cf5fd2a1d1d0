"""A trained, evaluated, judged model -> a version in MLflow's registry; aliases move here. Safe to repeat.

The same model (by the hash of its files) is the same version: registering it again refreshes tags, card, evidence and
verdict. A version is offered the alias `champion` once, when its gates first pass; afterwards only people move it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.connection import answering, as_default, connect, locked, sent_once
from registry.runs import Candidate, log_evaluation, logged_model, run_of
from registry.versions import (
    CHALLENGER,
    CHAMPION,
    FAILED,
    GATE,
    MODEL_HASH,
    PASSED,
    RECIPE,
    Version,
    read_aliases,
    read_versions,
    resolve,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

REASONS = "gate_reasons"
OFFERED = "offered_as_champion"  # the champion that this version replaces by itself, then DONE: never done twice
DONE = "done"
NOBODY = "nobody"
_LONGEST_CARD = 4900  # characters: MLflow's column holds 5,000; the whole card is an artifact


@dataclass(frozen=True)
class Registered:
    """version: as it stands now. fresh: this call made it. outdated: `champion` moved while it was being judged."""

    version: Version
    fresh: bool
    outdated: bool


@dataclass(frozen=True)
class Promotion:
    """`before` was champion, `version` is now."""

    version: Version
    before: str | None


@contextmanager
def exclusive(var: Path) -> Iterator[None]:
    """Judge and register under this: one registration of a workspace at a time, so that a model gets one version."""
    with locked(var, "registry"):
        yield


def register(candidate: Candidate, var: Path) -> Registered:
    """Make the candidate's version, or refresh the one it has, and set the aliases. Call it inside exclusive()."""
    with answering():
        client = connect(var)
        existing = find(client, candidate.name, candidate.model_hash)
        run_id = run_of(client, candidate, existing, var)
        model_id = logged_model(client, candidate, run_id, existing, var)
        log_evaluation(client, candidate, run_id, model_id, var)
        number = existing.version if existing else _create(client, candidate, run_id, model_id)
        _refresh(client, candidate, number)
        _set_challenger(client, candidate.name)
        outdated = _offer(client, candidate, number)
        now = next(version for version in read_versions(client, candidate.name) if version.version == number)
    return Registered(now, fresh=existing is None, outdated=outdated)


def find(client: MlflowClient, name: str, model_hash: str) -> Version | None:
    """The version of a model with these very files; the newest when somebody made several."""
    return next((version for version in read_versions(client, name) if version.model_hash == model_hash), None)


def promote(name: str, version: str, var: Path) -> Promotion:
    """Move `champion` to a version by hand. Raises BadRequest when there is no such version."""
    with exclusive(var):
        chosen = resolve(name, version, var)
        with answering():
            client = connect(var)
            before = read_aliases(client, name).get(CHAMPION)
            client.set_registered_model_alias(name, CHAMPION, chosen.version)
            _mark(client, chosen, DONE)
        return Promotion(resolve(name, chosen.version, var), before)


def _create(client: MlflowClient, candidate: Candidate, run_id: str, model_id: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(candidate.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with as_default(client), sent_once():
        made = client.create_model_version(
            candidate.name, f"models:/{model_id}", run_id, tags=_tags(candidate), model_id=model_id
        )
    return str(made.version)


def _tags(candidate: Candidate) -> dict[str, str]:
    return {
        **candidate.tags,
        MODEL_HASH: candidate.model_hash,
        RECIPE: candidate.recipe,
        GATE: PASSED if candidate.verdict.passed else FAILED,
        REASONS: "\n".join(str(reason) for reason in candidate.verdict.reasons) or "the recipe has no gates",
    }


def _refresh(client: MlflowClient, candidate: Candidate, number: str) -> None:
    entry = client.get_model_version(candidate.name, number)
    for key, value in _tags(candidate).items():
        if entry.tags.get(key) != value:
            client.set_model_version_tag(candidate.name, number, key, value)
    card = candidate.card if len(candidate.card) <= _LONGEST_CARD else f"{candidate.card[:_LONGEST_CARD]}\n..."
    if entry.description != card:
        client.update_model_version(candidate.name, number, card)


def _set_challenger(client: MlflowClient, name: str) -> None:
    """`challenger` is the newest version whose gates passed."""
    found = read_versions(client, name)
    newest = next((version for version in found if version.passed), None)
    holder = next((version for version in found if CHALLENGER in version.aliases), None)
    if newest and newest != holder:
        client.set_registered_model_alias(name, CHALLENGER, newest.version)
    if holder and not newest:
        client.delete_registered_model_alias(name, CHALLENGER)


def _offer(client: MlflowClient, candidate: Candidate, number: str) -> bool:
    """Move `champion` to a version that passed: once, never from a newer one, and only from the one it was judged
    against (else True: judge again).

    The mark is set before the alias and names who is replaced. Killed in between, the next registration finishes the
    move if the champion is still that one; if not, somebody has moved it, and that stands.
    """
    if not (candidate.promote and candidate.verdict.passed):
        return False
    found = {version.version: version for version in read_versions(client, candidate.name)}
    mine = found[number]
    holder = next((version for version in found.values() if CHAMPION in version.aliases), None)
    mark = mine.tags.get(OFFERED)
    if holder is not None and holder != mine:
        if mark not in (None, holder.version) or holder.number > mine.number:
            return False
        if holder.version != candidate.rival:
            return True
    if holder != mine:
        _mark(client, mine, holder.version if holder else NOBODY)
        client.set_registered_model_alias(candidate.name, CHAMPION, number)
    if mark != DONE:
        _mark(client, mine, DONE)
    return False


def _mark(client: MlflowClient, version: Version, value: str) -> None:
    client.set_model_version_tag(version.name, version.version, OFFERED, value)
