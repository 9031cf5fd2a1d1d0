"""Where a base model's weights lie on this machine, and which they are.

A reference is a path, package://PACKAGE, a hub id, models:/NAME@ALIAS or models:/NAME/VERSION. Weights are safetensors
only, and nothing in a base is run (core/weights/safety.py).
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from core.atomic_files import sha256_file
from core.errors import BadRequest, Outage
from core.schema.lock import BaseIdentity
from core.schema.model import Model
from core.tables.task import Base
from core.weights.adapters import whole
from core.weights.packages import PREFIX, package_path
from core.weights.safety import check_code, check_weights
from core.workspace import Job, Workspace, expanded

MODELS = "models:/"
_READ = ("*.safetensors", "*.json", "*.txt", "*.model")  # weights, configurations, vocabularies (SentencePiece's too)
_MODEL_NAME = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))")
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


class OtherWeightsError(BadRequest):
    """A base that is there, and whose weights are not those that the lock names."""


@dataclass(frozen=True)
class Resolved:
    """A folder with config.json and safetensors. version: of models:/, or the hub's commit."""

    folder: Path
    sha256: str
    version: str | None


def resolve(reference: str, root: Path, *, version: str | None = None, weights: bool = True) -> Resolved:
    """Find (or fetch) what a reference stands for.

    version: the one that the lock names, of a reference that moves. weights: False for a tokenizer alone.
    Raises BadRequest when there is no such model or its weights are not safetensors, Outage when a server is away.
    """
    folder, found = _without_code(reference, root, version)
    if weights:
        check_weights(folder, f"base {reference!r}")
    return Resolved(folder, _sha256(folder), found)


def identify(reference: str, root: Path, *, weights: bool = True) -> BaseIdentity:
    """Which weights the reference stands for now; NAME.lock keeps it."""
    found = resolve(reference, root, weights=weights)
    return BaseIdentity(sha256=found.sha256, version=found.version)


def locked(reference: str, identity: BaseIdentity, root: Path, *, weights: bool = True) -> Resolved:
    """What a reference stands for by its lock, found, checked and whole: of a model of adapters, what they make.

    Raises OtherWeightsError when the weights are not those that the lock names.
    """
    found = resolve(reference, root, version=identity.version, weights=weights)
    if found.sha256 != identity.sha256:
        raise OtherWeightsError(
            f"base {reference}: {found.folder} holds {found.sha256[:12]}, the lock names {identity.sha256[:12]}. "
            "Bring the old files back, or run `headrace lock`."
        )
    return replace(found, folder=whole(found.folder, Workspace(root).var))


def located(reference: str, identity: BaseIdentity | None, root: Path) -> Path:
    """The folder that `locked` finds, its weights not hashed. identity: None for what the reference stands for now."""
    version = identity.version if identity is not None else None
    return whole(_without_code(reference, root, version)[0], Workspace(root).var)


def base_of(job: Job) -> Base:
    """What a recipe's training starts from; the folder of an architecture is that of its tokenizer, if it names one."""
    base, bases = job.section("model", Model).base, job.section("bases", dict[str, BaseIdentity])
    if isinstance(base, str):
        found = locked(base, bases[base], job.workspace.root)
        return Base(base, found.folder, found.sha256)
    if base.tokenizer is None:
        return Base(base, None, None)
    return Base(base, locked(base.tokenizer, bases[base.tokenizer], job.workspace.root, weights=False).folder, None)


def _without_code(reference: str, root: Path, version: str | None) -> tuple[Path, str | None]:
    """The folder that holds config.json (the one found, or the only one below it), and the version that was found."""
    folder, found = _place(reference, root, version)
    if not (folder / "config.json").is_file():
        below = sorted(path.parent for path in folder.glob("*/config.json"))
        if len(below) != 1:
            what = f"several models: {', '.join(path.name for path in below)}" if below else "no config.json"
            raise BadRequest(f"base {reference!r}: {folder} holds {what}. Name a model's own folder.")
        folder = below[0]
    check_code(folder, f"base {reference!r}")
    return folder, found


def _place(reference: str, root: Path, version: str | None) -> tuple[Path, str | None]:
    if reference.startswith(MODELS):
        return _registered(reference, root, version)
    if reference.startswith(PREFIX):
        return package_path(reference), None
    path = root / expanded(reference)
    if path.is_dir():
        return path, None
    if _HUB_ID.fullmatch(reference):
        return _from_hub(reference, version, tried=path)
    raise BadRequest(
        f"base {reference!r}: no folder {path}, and no hub id, package:// or models:/NAME@ALIAS either. Correct it."
    )


def _registered(reference: str, root: Path, version: str | None) -> tuple[Path, str]:
    named = _MODEL_NAME.fullmatch(reference)
    if named is None:
        raise BadRequest(f"base {reference!r}: allowed are models:/NAME@ALIAS and models:/NAME/VERSION.")
    from registry.store.versions import model_folder

    return model_folder(named["name"], version or named["version"] or named["alias"], Workspace(root).var)


def _from_hub(name: str, revision: str | None, *, tried: Path) -> tuple[Path, str]:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import constants, errors, snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of httpx, or of its successor

    where = f"base {name!r}: no folder {tried}, and the Hugging Face hub"
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(_READ)))
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError):
        raise BadRequest(f"{where} has no such model (or it needs HF_TOKEN). Correct the reference.") from None
    except (errors.LocalEntryNotFoundError, HTTPError, ConnectionError, TimeoutError) as error:
        if constants.HF_HUB_OFFLINE:
            raise BadRequest(
                f"{where} may not be asked: HF_HUB_OFFLINE is set, and its cache has no such model."
            ) from None
        said = f"{where} cannot be reached ({type(error).__name__})"
        raise Outage(f"{said}. Run again when it can be, or name a folder or a package://.") from None
    return folder, folder.name  # snapshots/COMMIT


def _sha256(folder: Path) -> str:
    """One sha256 over weights, configurations and vocabularies, by name."""
    digest = hashlib.sha256()
    files = {path for pattern in _READ for path in folder.rglob(pattern) if path.is_file()}
    for path in sorted(files):
        digest.update(f"{sha256_file(path)}  {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()
