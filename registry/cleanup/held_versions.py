"""What the embedded store holds of each version: facts for registry/cleanup/needed.py; and the mark on a freed one."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.atomic_files import read_json
from core.errors import BadRequest, HeadraceError
from core.workspace import now
from registry.cleanup.needed import Base, Held
from registry.promotion import journal
from registry.promotion.ledger import MOVES
from registry.store import versions
from registry.store.connection import answering, artifacts, asking, database, every_page, if_there
from registry.store.names import local_folder
from registry.store.signing import BUNDLE
from registry.store.versions import Version
from registry.version.evidence_files import LOCK, SETTINGS, recorded

if TYPE_CHECKING:
    from mlflow import MlflowClient


def holdings(var: Path) -> list[Held]:
    """Every version of every model in the embedded store; none when there is no store yet."""
    if not database(var).is_file():
        return []
    with asking(var) as client:
        return [held for name in versions.model_names(client) for held in _of_model(client, name, var)]


def orphans(var: Path, held: Iterable[Held]) -> Iterator[tuple[str, Path, float]]:
    """The models of ours in the embedded store that no version holds, as far as their files are there: what to call
    one, its folder, and when it was made, in seconds since the epoch. Its registration was cut short, or somebody
    deleted the version.
    """
    if not database(var).is_file():
        return
    known = {each.model_id for each in held}
    with asking(var) as client:
        experiments = [experiment.experiment_id for experiment in every_page(client.search_experiments)]
        found = every_page(client.search_logged_models, experiments) if experiments else []
    for model in found:
        if model.model_id not in known and versions.MODEL_HASH in model.tags:
            folder = _folder(model.artifact_location, var)
            if folder is not None and folder.is_dir():
                yield f"{model.name} ({model.model_id})", folder, model.creation_timestamp / 1000


def lock_of(version: Version, var: Path) -> bytes | None:
    """The dvc.lock entries that made a version; None when none were kept with it."""
    file = recorded(version, LOCK, var) if version.run_id else None
    return file.read_bytes() if file is not None else None


def locks_elsewhere(var: Path) -> Iterator[bytes]:
    """While a server is in charge: the dvc.lock entries that made its versions, and those of the embedded store, which
    are read as files. Raises Outage.
    """
    for file in artifacts(var).glob(f"*/*/artifacts/{versions.EVIDENCE}/{LOCK}"):
        yield file.read_bytes()
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        yield from filter(None, (lock_of(version, Path(scratch)) for version in versions.every_version(Path(scratch))))


def mark(held: Iterable[Held], var: Path) -> None:
    """Say of versions that their files are freed from now on: before the first of them goes."""
    for each in held:
        if not each.freed:
            with asking(var) as client:
                client.set_model_version_tag(each.name, each.version, versions.FREED, now())


def unmark(held: Iterable[Held], var: Path) -> None:
    """Take the mark from versions whose files are whole after all: a gc was stopped, and something needs them now."""
    for each in held:
        if not each.freed or each.folder is None or not each.folder.is_dir():
            continue
        with asking(var) as client:
            tags = client.get_model_version(each.name, each.version).tags
            try:
                with answering():
                    versions.local_copy(client, each.model_id, tags.get(versions.MODEL_HASH), var)
            except HeadraceError:  # some of them went: it stays marked until it is registered again
                continue
            client.delete_model_version_tag(each.name, each.version, versions.FREED)


def _of_model(client: MlflowClient, name: str, var: Path) -> Iterator[Held]:
    chain = journal.read(client, name)
    champions = {each for entry in chain.current if entry.action in MOVES for each in (entry.to, entry.before)}
    standing = versions.raw_champion(client, name)  # a moved alias is judged later; until then both are kept
    found = versions.read_versions(client, name)
    for version in found:
        run, model = if_there(client.get_run, version.run_id), if_there(client.get_logged_model, version.model_id)
        folder = _folder(model.artifact_location, var) if model is not None else None
        kept = _folder(f"{run.info.artifact_uri}/{versions.EVIDENCE}", var) if run is not None else None
        if kept is not None and (kept / BUNDLE).is_file():
            for file in (LOCK, SETTINGS):
                recorded(version, file, var)  # raises Altered for such a one: what is needed cannot be known
        lock = (kept / LOCK).read_bytes() if kept is not None and (kept / LOCK).is_file() else None
        yield Held(
            name=name,
            version=version.version,
            model_id=version.model_id,
            made=max(version.created_ms / 1000, folder.stat().st_mtime if folder and folder.is_dir() else 0.0),
            ours=version.model_hash is not None,
            aliases=sorted({*version.aliases, *([versions.CHAMPION] if version.version == standing else [])}),
            was_champion=version.version in champions,
            ledger_whole=not chain.faults,
            newest=version == found[0],
            models=_models(lock) if lock is not None else None,
            bases=bases_in(kept / SETTINGS) if kept is not None else frozenset(),
            lock=lock or b"",
            freed=versions.FREED in version.tags,
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


def _folder(place: str, var: Path) -> Path | None:
    """The folder behind an artifact location, as far as it is the store's own: nothing else is ever freed."""
    try:
        return local_folder(place, var)
    except BadRequest:
        return None
