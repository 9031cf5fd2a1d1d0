"""Versions whose data had a row that was forgotten: marked; and their artifacts on a server, gone over one by one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.atomic_files import sha256_file
from core.workspace import now
from registry.cleanup.held_versions import bases_in
from registry.cleanup.needed import Base
from registry.store import signing
from registry.store.connection import asking
from registry.store.names import local_folder
from registry.store.versions import EVIDENCE, GONE, Version, evidence, freed, local_copy
from registry.version.evidence_files import settings_file

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRAINED = "trained_on_forgotten"  # when; the row was among those that it was trained on: its weights stay
KEPT_ROWS = "rows.parquet"  # of the evidence: which rows a version was made of, once its data are gone
_PICTURES = (".png", ".svg")


def bases_of(version: Version, var: Path) -> frozenset[Base]:
    """The registered versions that a version was trained from."""
    file = settings_file(version, var)
    return bases_in(file) if file is not None else frozenset()


def mark(version: Version, tags: Iterable[str], var: Path) -> None:
    """Tag a version; what is tagged keeps its date."""
    with asking(var) as client:
        for tag in tags:
            if tag not in version.tags:
                client.set_model_version_tag(version.name, version.version, tag, now())


def kept_rows(version: Version, var: Path) -> Path | None:
    """The ids of a version's rows, as they were kept when rows of it were forgotten."""
    return evidence(version, KEPT_ROWS, var) if version.run_id and GONE in version.tags else None


def keep(version: Version, file: Path, var: Path) -> None:
    """Keep a file with a version."""
    with asking(var) as client:
        client.log_artifact(version.run_id, str(file), EVIDENCE)


def forgotten(version: Version) -> str | None:
    """What to say of a version whose data are not whole any more; None when they are."""
    when = version.tags.get(GONE)
    return f"`headrace forget` took rows out of its data on {when[:10]}" if when else None


@contextmanager
def signed_again(found: Iterable[Version], var: Path) -> Iterator[list[str]]:
    """While files of these versions are rewritten: what the configured key had signed, it signs again.

    Yields a list that gains the versions whose signature holds no longer.
    """
    lost: list[str] = []
    signed = [(version, *_signed(version, var)) for version in found if evidence(version, signing.MODEL, var)]
    before = [_examples(folder) for _, folder, _ in signed]
    yield lost
    for (version, folder, ours), was in zip(signed, before, strict=True):
        if folder is None or _examples(folder) == was:
            continue
        if not ours:
            lost.append(version.called)
            continue
        with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
            signing.sign(folder, Path(scratch) / signing.MODEL)
            keep(version, Path(scratch) / signing.MODEL, var)


def _signed(version: Version, var: Path) -> tuple[Path | None, bool]:
    """The folder that a signature is over (None: its files were freed), and whether the configured key made it."""
    if freed(version) is not None:
        return None, False
    with asking(var) as client:
        folder = local_copy(client, version.model_id, version.model_hash, var)
    key = signing.signing_key()
    return folder, key is not None and signing.fault(folder, evidence(version, signing.MODEL, var), [key]) is None


def _examples(folder: Path | None) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in folder.glob("*.json")} if folder is not None else {}


def scrub_served(
    found: Iterable[Version], var: Path, holds: Callable[[Path], bool], redact: Callable[[Path], bool]
) -> Iterator[tuple[str, bool]]:
    """Overwrite artifacts of these versions that hold the row, where a server keeps them: which, and whether it could.

    Artifacts on this machine are not looked at here: they are files like any other.
    """
    with asking(var) as client:
        for version in found:
            for name, get, put in _artifacts(client, version, var):
                with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
                    file = get(scratch)
                    if file.is_file() and holds(file):
                        done = redact(file)
                        if done:
                            put(file)
                        yield f"{version.called}: {name}", done


def _artifacts(client: MlflowClient, version: Version, var: Path) -> Iterator[tuple[str, Any, Any]]:
    """The evidence and the input examples that lie on a server: name, how to fetch it, how to write it anew."""
    from mlflow.artifacts import download_artifacts

    run = client.get_run(version.run_id)
    if local_folder(run.info.artifact_uri, var) is None:
        for path in _listed(client, version.run_id, EVIDENCE):
            yield (
                path,
                lambda to, path=path: Path(client.download_artifacts(version.run_id, path, to)),
                lambda file, path=path: client.log_artifact(version.run_id, str(file), path.rpartition("/")[0]),
            )
    model = client.get_logged_model(version.model_id)
    if local_folder(model.artifact_location, var) is None:
        for entry in client.list_logged_model_artifacts(version.model_id):
            if entry.path.endswith(".json"):
                uri = f"{model.artifact_location}/{entry.path}"
                yield (
                    entry.path,
                    lambda to, uri=uri: Path(download_artifacts(uri, dst_path=to, tracking_uri=client.tracking_uri)),
                    lambda file: client.log_model_artifact(version.model_id, str(file)),
                )


def _listed(client: MlflowClient, run_id: str, folder: str) -> Iterator[str]:
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            yield from _listed(client, run_id, entry.path)
        elif not entry.path.endswith(_PICTURES):
            yield entry.path
