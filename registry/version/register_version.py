"""A trained, evaluated, judged model -> a version in MLflow's registry; aliases move here. Safe to repeat.

The same model (by the hash of its files) is the same version: registering it again refreshes tags, card, evidence and
verdict. A version becomes champion by itself once, when its gates first pass; afterwards only people move it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import BadRequest
from registry.promotion.card import shortened, title_of, with_forced
from registry.promotion.ledger import Chain, forced_of
from registry.promotion.promotion import Grounds, accept, anchor, note_removal, whole
from registry.promotion.question import ask
from registry.store import signing, versions
from registry.store.connection import as_default, asking, sent_once
from registry.store.versions import Version
from registry.version.packing import holds_own_code, is_own, pack
from registry.version.runs import Candidate, Draft, log_evaluation, logged_model, name_run, run_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

REASONS = "gate_reasons"


@dataclass(frozen=True)
class Registered:
    """version: as it stands now. outdated: `champion` moved while it was being judged."""

    version: Version
    outdated: bool


@contextmanager
def packed(draft: Draft, var: Path) -> Iterator[Path]:
    """The MLflow model of a draft on this machine: the very artifact that a version of it serves, made if need be.

    What holds other code than this workspace's is not given out to be run: then one is packed anew, beside.
    Call it inside exclusive().
    """
    with asking(var) as client:
        existing = find(client, draft.name, draft.model_hash)
        model_id = logged_model(client, draft, run_of(client, draft, existing, var), existing, var)
        folder = versions.local_copy(client, model_id, draft.model_hash, var)
    if holds_own_code(folder, draft.contents.task):
        yield folder
        return
    from mlflow.models import Model

    with tempfile.TemporaryDirectory(prefix="headrace-", dir=var) as scratch:  # below var/: its base is found there
        pack(draft.contents, anew := Path(scratch) / "packed", Model())
        yield anew


def register(candidate: Candidate, var: Path) -> Registered:
    """Make the candidate's version, or refresh the one it has, and set the aliases. Call it inside exclusive()."""
    with asking(var) as client, tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        note_removal(client, candidate.name, var)
        existing = find(client, candidate.name, candidate.model_hash)
        run_id = run_of(client, candidate, existing, var)
        model_id = logged_model(client, candidate, run_id, existing, var)
        candidate = _signed(client, candidate, existing, model_id, var, Path(scratch))
        log_evaluation(client, candidate, run_id, model_id, var)
        number = existing.version if existing else _create(client, candidate, run_id, model_id)
        name_run(client, candidate, run_id, number)
        chain = whole(client, candidate.name)
        _refresh(client, candidate, number, chain)
        _set_challenger(client, candidate.name)
        mine = _numbered(client, candidate.name, number)
        anchor(client, var, mine, chain)
        ask(client, mine, chain, wanted=candidate.approval)
        outdated = _offer(client, candidate, mine, chain, var)
        now = _numbered(client, candidate.name, number)
    return Registered(now, outdated)


def _signed(
    client: MlflowClient, candidate: Candidate, existing: Version | None, model_id: str, var: Path, scratch: Path
) -> Candidate:
    """The candidate with its signatures beside the evidence, where a key is configured.

    Raises BadRequest for a version with code that this workspace does not have, unless this key signed it before.
    """
    key = signing.signing_key()
    if key is None:
        return candidate
    packed = versions.local_copy(client, model_id, candidate.model_hash, var)
    signatures = {name: scratch / name for name in (signing.MODEL, signing.EVIDENCE)}
    if is_own(packed, candidate.contents):
        signing.sign(packed, signatures[signing.MODEL])
    else:
        before = versions.evidence(existing, signing.MODEL, var) if existing else None
        if before is None or signing.fault(packed, before, [key]):
            raise BadRequest(
                f"{candidate.name}: the version with these weights is not signed: it holds other code than this "
                f"workspace, in {packed}. Check out the code that it was made with and register it there, or remove "
                "that folder: the next registration packs it anew."
            )
        signatures[signing.MODEL] = before
    signing.sign(candidate.evidence[signing.BUNDLE], signatures[signing.EVIDENCE])
    return replace(candidate, evidence={**candidate.evidence, **signatures})


def _numbered(client: MlflowClient, name: str, number: str) -> Version:
    return next(version for version in versions.read_versions(client, name) if version.version == number)


def find(client: MlflowClient, name: str, model_hash: str) -> Version | None:
    """The version of a model with these very files; the newest when somebody made several."""
    return next((version for version in versions.read_versions(client, name) if version.model_hash == model_hash), None)


def _create(client: MlflowClient, candidate: Candidate, run_id: str, model_id: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(candidate.name, description=_about(candidate))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with as_default(client), sent_once():
        made = client.create_model_version(
            candidate.name, f"models:/{model_id}", run_id, tags=_tags(candidate), model_id=model_id
        )
    return str(made.version)


def _about(candidate: Candidate) -> str:
    """What a model's page begins with; a person may write something else there."""
    return (
        f"{title_of(candidate.card)}\n\nMade by the recipe `{candidate.recipe}`. Each version below has its card; "
        f"`headrace history {candidate.name}` says which was champion when, and why."
    )


def _tags(candidate: Candidate) -> dict[str, str]:
    """In the order in which MLflow's page shows them: what people look for first, hashes last."""
    return {
        versions.GATE: versions.PASSED if candidate.verdict.passed else versions.FAILED,
        REASONS: "\n".join(str(reason) for reason in candidate.verdict.reasons) or "the recipe has no gates",
        versions.RECIPE: candidate.recipe,
        **candidate.tags,
        versions.MODEL_HASH: candidate.model_hash,
    }


def _refresh(client: MlflowClient, candidate: Candidate, number: str, chain: Chain) -> None:
    entry = client.get_model_version(candidate.name, number)
    for key, value in _tags(candidate).items():
        if entry.tags.get(key) != value:
            client.set_model_version_tag(candidate.name, number, key, value)
    card = shortened(with_forced(candidate.card, forced_of(chain.current, number)))
    if entry.description != card:
        client.update_model_version(candidate.name, number, card)


def _set_challenger(client: MlflowClient, name: str) -> None:
    """`challenger` is the newest version whose gates passed, among those whose files are there."""
    found = versions.read_versions(client, name)
    newest = next((version for version in found if version.passed and versions.freed(version) is None), None)
    holder = next((version for version in found if versions.CHALLENGER in version.aliases), None)
    if newest and newest != holder:
        client.set_registered_model_alias(name, versions.CHALLENGER, newest.version)
    if holder and not newest:
        client.delete_registered_model_alias(name, versions.CHALLENGER)


def _offer(client: MlflowClient, candidate: Candidate, mine: Version, chain: Chain, var: Path) -> bool:
    """Make a version that passed the champion: once, never after a newer one, and only in place of the one that it
    was judged against (else True: judge again).
    """
    offered = any(entry.to == mine.version and entry.action == "promoted" for entry in chain.current)
    if not (candidate.promote and candidate.verdict.passed) or offered:
        return False
    holder = next((v for v in versions.read_versions(client, candidate.name) if v.version == chain.champion), None)
    if holder is not None and holder.number > mine.number:
        return False
    if (holder.version if holder else None) != candidate.rival:
        return True
    accept(client, var, mine, chain, Grounds([str(reason) for reason in candidate.verdict.reasons]))
    return False
