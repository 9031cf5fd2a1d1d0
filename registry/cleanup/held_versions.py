"""What the embedded store holds of each version: facts for registry/cleanup/needed.py; and the mark on a freed one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.atomic_files import read_json
from core.errors import BadRequest, HeadraceError
from registry.cleanup.needed import Base, Held
from registry.promotion import journal
from registry.promotion.ledger import MOVES, Chain
from registry.store.connection import answering, artifacts, connect, database, is_embedded
from registry.store.names import local_folder
from registry.store.signing import BUNDLE
from registry.store.versions import (
    CHAMPION,
    EVIDENCE,
    FREED,
    MODEL_HASH,
    Version,
    local_copy,
    raw_champion,
    read_versions,
)
from registry.version.evidence_files import LOCK, SETTINGS, recorded

if TYPE_CHECKING:
    from mlflow import MlflowClient

_PAGE = 1000


@dataclass(frozen=True)
class Orphan:
    """Files of a model that no version holds: its registration was cut short, or somebody deleted the version."""

    called: str
    folder: Path
    made: float


def holdings(var: Path) -> list[Held]:
    """Every version of every model in the embedded store; none when there is no store yet."""
    if not database(var).is_file():
        return []
    with answering():
        client = connect(var)
        return [held for name in names(client) for held in _of_model(client, name, var)]


def orphans(var: Path, held: Iterable[Held]) -> list[Orphan]:
    """The models of ours in the embedded store that no version holds, as far as their files are there."""
    if not database(var).is_file():
        return []
    known = {each.model_id for each in held}
    with answering():
        found = [model for model in _logged_models(connect(var)) if model.model_id not in known]
    places = [(model, _folder(model.artifact_location, var)) for model in found if MODEL_HASH in model.tags]
    return [
        Orphan(f"{model.name} ({model.model_id})", folder, model.creation_timestamp / 1000)
        for model, folder in places
        if folder is not None and folder.is_dir()
    ]


def copied_ids(var: Path) -> set[str]:
    """The ids of runs and models of a server's versions: what a download may be a copy of. Raises Outage."""
    if is_embedded():
        return set()
    with answering():
        client = connect(var)
        found = [version for name in names(client) for version in read_versions(client, name)]
    return {identity for version in found for identity in (version.run_id, version.model_id)}


def stored_locks(var: Path) -> Iterator[bytes]:
    """The dvc.lock entries that made the versions of the embedded store, read as files: another store is in charge."""
    for file in artifacts(var).glob(f"*/*/artifacts/{EVIDENCE}/{LOCK}"):
        yield file.read_bytes()


def served_locks() -> Iterator[bytes]:
    """The dvc.lock entries that made the versions of the server in charge. Raises Outage."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch, answering():
        var = Path(scratch)
        client = connect(var)
        for name in names(client):
            for version in read_versions(client, name):
                if (file := recorded(version, LOCK, var)) is not None:
                    yield file.read_bytes()


def mark(held: Iterable[Held], var: Path) -> None:
    """Say of versions that their files are freed from now on: before the first of them goes."""
    new = [each for each in held if not each.freed]
    if not new:
        return
    with answering():
        client = connect(var)
        for each in new:
            client.set_model_version_tag(each.name, each.version, FREED, journal.now())


def unmark(held: Iterable[Held], var: Path) -> None:
    """Take the mark from versions whose files are whole after all: a gc was stopped, and something needs them now."""
    for each in held:
        if not each.freed or each.folder is None or not each.folder.is_dir():
            continue
        with answering():
            client = connect(var)
            tags = client.get_model_version(each.name, each.version).tags
            try:
                local_copy(client, each.model_id, tags.get(MODEL_HASH), var)
            except HeadraceError:  # some of them went: it stays marked until it is registered again
                continue
            client.delete_model_version_tag(each.name, each.version, FREED)


def _of_model(client: MlflowClient, name: str, var: Path) -> Iterator[Held]:
    chain = journal.read(client, name)
    standing = raw_champion(client, name)  # a moved alias is judged later; until then both are kept
    found = read_versions(client, name)
    for version in found:
        aliases = {*version.aliases, *([CHAMPION] if version.version == standing else [])}
        yield _held(client, version, sorted(aliases), chain, newest=version == found[0], var=var)


def _held(client: MlflowClient, version: Version, aliases: list[str], chain: Chain, *, newest: bool, var: Path) -> Held:
    kept = _evidence(client, version, var)
    if kept is not None and (kept / BUNDLE).is_file():
        for name in (LOCK, SETTINGS):
            recorded(version, name, var)  # raises Altered for such a one: what is needed cannot be known
    text = (kept / LOCK).read_bytes() if kept is not None and (kept / LOCK).is_file() else None
    folder = _files(client, version, var)
    moves = [entry for entry in chain.entries if entry.action in MOVES]
    return Held(
        name=version.name,
        version=version.version,
        model_id=version.model_id,
        made=max(version.created_ms / 1000, folder.stat().st_mtime if folder and folder.is_dir() else 0.0),
        ours=version.model_hash is not None,
        aliases=aliases,
        was_champion=any(version.version in (entry.to, entry.before) for entry in moves),
        ledger_whole=not chain.faults,
        newest=newest,
        models=_models(text) if text is not None else None,
        bases=bases_in(kept / SETTINGS) if kept is not None else frozenset(),
        lock=text or b"",
        freed=FREED in version.tags,
        folder=folder,
    )


def _models(lock: bytes) -> frozenset[str] | None:
    """DVC's hashes of the outputs called `model`; None when there is none: it was made without DVC."""
    try:
        outs = [out for entry in json.loads(lock).values() for out in entry.get("outs", ())]
        return frozenset(out["md5"] for out in outs if Path(out["path"]).name == "model") or None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def bases_in(settings: Path) -> frozenset[Base]:
    """The registered versions that a settings.json names as bases."""
    try:
        return frozenset(base for each in read_json(settings)["bases"].items() if (base := base_of(*each)) is not None)
    except (BadRequest, KeyError, TypeError, AttributeError):
        return frozenset()


def base_of(reference: str, identity: dict[str, Any]) -> Base | None:
    """The version that models:/NAME@ALIAS or models:/NAME/VERSION stood for; None for another kind of base."""
    scheme, _, rest = reference.partition("models:/")
    if scheme or not rest:
        return None
    name, _, number = rest.partition("@")[0].partition("/")
    return name, identity.get("version") or number or None


def names(client: MlflowClient) -> list[str]:
    """The registered models."""
    found: list[str] = []
    token = None
    while True:
        page = client.search_registered_models(max_results=_PAGE, page_token=token)
        found += [model.name for model in page]
        token = page.token
        if not token:
            return sorted(found)


def _logged_models(client: MlflowClient) -> Iterator[Any]:
    experiments = [experiment.experiment_id for experiment in client.search_experiments(max_results=_PAGE)]
    token = None
    while experiments:
        page = client.search_logged_models(experiments, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _files(client: MlflowClient, version: Version, var: Path) -> Path | None:
    from mlflow.exceptions import MlflowException

    try:
        return _folder(client.get_logged_model(version.model_id).artifact_location, var)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _evidence(client: MlflowClient, version: Version, var: Path) -> Path | None:
    from mlflow.exceptions import MlflowException

    try:
        folder = _folder(client.get_run(version.run_id).info.artifact_uri, var)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise
    return folder / EVIDENCE if folder is not None else None


def _folder(place: str, var: Path) -> Path | None:
    """The folder behind an artifact location, as far as it is the store's own: nothing else is ever freed."""
    try:
        return local_folder(place, var)
    except BadRequest:
        return None
