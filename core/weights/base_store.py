"""The base of a model that holds only what training added to it (adapters, a head): kept once, found by its hash.

`train` writes it beside the model as an output of its own, so DVC keeps equal ones once, and pushes them. `register`
keeps it in var/bases as well, and in a run of the registry where that is a server (registry/store/server_bases.py).
"""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from core.atomic_files import read_json, sha256_json, write_json
from core.errors import BadData, BadRequest
from core.manifest import damage, read_manifest, write_manifest

NAMED = "base.json"  # in a model's folder: which base it needs
FOLDER = "base"  # beside a model's folder: the base itself
STORE = "bases"  # in var/ and in the user's cache: a folder a base, called by its hash
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class NamedBase:
    """What a model says of its base.

    reference: as the recipe has it. sha256: of the reference's own files, as the lock names them. files: of the folder
    that is kept: the weights that training started from under the module's names, and the tokenizer.
    """

    reference: str
    sha256: str
    files: str

    def __str__(self) -> str:
        return f"the base {self.reference}, kept as {self.files[:12]}"


def seal(base: Path, model: Path, *, reference: str, sha256: str) -> None:
    """End what a task left in `base`: its manifest, and its name in the model's folder, unless the model needs none."""
    write_manifest(base, {})
    if files := read_manifest(base)["files"]:
        write_json(model / NAMED, asdict(NamedBase(reference, sha256, sha256_json(files))))


def named_base(model: Path) -> NamedBase | None:
    """Which base a model needs; None for one that holds all its weights. Raises BadRequest for a name that is none."""
    if not (model / NAMED).is_file():
        return None
    told = read_json(model / NAMED)
    try:
        named = NamedBase(**told)
        if _HASH.fullmatch(named.files):
            return named
    except TypeError:
        pass
    raise BadRequest(f"{model / NAMED} does not name a base by its sha256. Register the model again.")


def base_folder(model: Path) -> Path | None:
    """Where the base of a model lies on this machine, every file of it hashed; None for a model that needs none.

    It is looked for beside the model, in bases/ of each folder above it (so in the var/ that holds a version), and in
    the user's cache.
    Raises BadRequest when there is none, BadData when what is there is another.
    """
    named = named_base(model)
    if named is None:
        return None
    others = []
    above = (folder / STORE / named.files for folder in model.resolve().parents)
    for place in filter(Path.is_dir, (model.parent / FOLDER, *above, cached(named.files))):
        if (fault := unlike(place, named.files)) is None:
            return place
        others.append(f"{place}: {fault}")
    mend = "Bring it back (`dvc checkout`, `dvc pull`), or register the model again."
    if others:
        raise BadData(f"{model} adds to {named}, and to no other: {'; '.join(others)}. {mend}")
    raise BadRequest(f"{model} adds to {named}, which is not on this machine. {mend}")


def unlike(folder: Path, files: str) -> str | None:
    """Why a folder is not the base of that hash, in words; None: it is."""
    if fault := damage(folder):
        return fault
    found = sha256_json(read_manifest(folder)["files"])
    return None if found == files else f"it holds {found[:12]}"


def cached(files: str) -> Path:
    """Where the base of that hash lies, or will, for models that lie in no workspace: MLflow's temporary copies."""
    home = os.environ.get("HOME", tempfile.gettempdir())  # a container's number may have none
    return Path(os.environ.get("XDG_CACHE_HOME") or f"{home}/.cache") / "headrace" / STORE / files
