"""The files that are kept with a version, each compared with the hash that evidence.json has of it.

A tag of the version has the hash of evidence.json, the ledger knows it, and evidence.sig is over it. What evidence.json
does not name is no part of the version: an earlier registration left it, or somebody put it there.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.atomic_files import make_folder, read_json, sha256_file
from core.errors import BadData, BadRequest
from core.workspace import inside
from registry.store import signing
from registry.store.versions import EVIDENCE_HASH, GONE, PREDICTIONS, PROFILE, Version, champion, evidence

FILES = "files"  # of evidence.json: name -> sha256
SETTINGS, LOCK = "settings.json", "dvc-lock.json"
RECIPE, RECIPE_LOCK, PATCH = "recipe.yaml", "recipe.lock", "code.patch"
CODE = "code.json"  # the files of code that its stages could run
_IN_ORIGIN = {SETTINGS: "recipe_hash", LOCK: "dvc_lock_hash"}  # before evidence.json had FILES


class Altered(BadRequest):
    """A file that is kept with a version is not the one that was registered."""


@dataclass(frozen=True)
class Kept:
    """What is kept with a version.

    told: evidence.json; None for a version of before there was one. signed: a trusted key signed it. into: a folder of
    the caller's own, where a file is copied before it is compared: nobody alters it between that and its use.
    """

    version: Version
    var: Path
    told: Mapping[str, Any] | None
    signed: bool = False
    into: Path | None = None

    @property
    def hashes(self) -> dict[str, str]:
        """Name -> sha256."""
        told = self.told or {}
        if self.whole:
            return dict(told[FILES])
        origin, predictions = told.get("origin", {}), told.get("predictions")
        known = {name: origin[key] for name, key in _IN_ORIGIN.items() if key in origin}
        return known | ({PREDICTIONS: predictions} if predictions else {})

    @property
    def whole(self) -> bool:
        """Whether every file that was kept has its hash; an earlier Headrace knew few of them."""
        return FILES in (self.told or {})

    @property
    def lacking(self) -> str | None:
        """What to say of a version without the hashes; None: it has them."""
        which = f"a hash of {' and '.join(self.hashes)} alone" if self.hashes else "no hash"
        return None if self.whole else f"an earlier Headrace registered it: of what was kept with it, there is {which}"

    @property
    def faults(self) -> dict[str, str]:
        """The files that are not what was kept -> how they differ."""
        found = {name: self._compared(name)[1] for name in self.hashes}
        return {name: fault for name, fault in found.items() if fault is not None}

    def file(self, name: str) -> Path | None:
        """A file, compared; None when it was not kept. Raises Altered, naming it.

        Of a version of an earlier Headrace, what has no hash is given as it is.
        """
        if name not in self.hashes:
            return None if self.whole else _fetched(self.version, name, self.var, self.into)
        file, fault = self._compared(name)
        if fault is not None and not excused(self.version, name):
            raise Altered(_altered(self.version, name, fault))
        return file

    def _compared(self, name: str) -> tuple[Path | None, str | None]:
        """A file, and how it differs from what was kept."""
        inside(self.var, name)  # a name that leads out is refused
        file, wanted = _fetched(self.version, name, self.var, self.into), self.hashes[name]
        if file is None:
            return None, "is missing"
        found = sha256_file(file)
        return file, None if found == wanted else f"was altered (sha256 {found[:12]} now, {str(wanted)[:12]} then)"


def read(version: Version, var: Path, *, trusted: bool = False, into: Path | None = None) -> Kept:
    """evidence.json as it was registered, and what it says was kept.

    trusted: where a key is configured, it must have signed. Raises Altered for another evidence.json, BadData for one
    that no trusted key signed.
    """
    keys = signing.trusted_keys() if trusted else []
    file, tag = _fetched(version, signing.BUNDLE, var, into), version.tags.get(EVIDENCE_HASH)
    said = signing.fault(file, evidence(version, signing.EVIDENCE, var), keys) if keys and file else None
    if said is not None or (keys and file is None):
        why = f"of its {signing.BUNDLE}, {said or 'there is none'}"
        raise BadData(f"{version.called} is not used: {why} ({signing.TRUSTED}).")
    if file is None:
        if tag is None:
            return Kept(version, var, None, into=into)
        raise Altered(_altered(version, signing.BUNDLE, "is missing"))
    if tag is not None and sha256_file(file) != tag:
        raise Altered(_altered(version, signing.BUNDLE, "was edited"))
    told: dict[str, Any] = read_json(file)
    if told.get("model") != {"name": version.name, "model_hash": version.model_hash}:
        raise Altered(_altered(version, signing.BUNDLE, "is that of another version"))
    return Kept(version, var, told, signed=bool(keys), into=into)


def recorded(version: Version, name: str, var: Path) -> Path | None:
    """A file that is kept with a version, compared, as Kept.file() gives it."""
    return read(version, var).file(name)


def settings_file(version: Version, var: Path) -> Path | None:
    """settings.json of the recipe as it was when the version was registered; None where it was not kept."""
    return recorded(version, SETTINGS, var) if version.run_id else None


def excused(version: Version, name: str) -> bool:
    """Whether a file may differ: `headrace forget` takes a row's text out of what is kept, and such a version is not
    made again.
    """
    return GONE in version.tags and name != LOCK


def hashes_of(files: Mapping[str, Path]) -> dict[str, str]:
    """What evidence.json has under FILES. files: name -> a file or a folder that is kept under it."""
    found: dict[str, str] = {}
    for name, path in files.items():
        below = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        found |= {(Path(name) / each.relative_to(path)).as_posix(): sha256_file(each) for each in below}
    return found


def champion_profile(name: str, var: Path) -> dict[str, Any] | None:
    """The profile of the champion's data, for drift; None without a champion or when it has none."""
    version = champion(name, var)
    file = recorded(version, PROFILE, var) if version else None
    return read_json(file) if file else None


def _fetched(version: Version, name: str, var: Path, into: Path | None) -> Path | None:
    file = evidence(version, name, var)
    if file is None or into is None:
        return file
    make_folder((copy := into / name).parent)
    return Path(shutil.copyfile(file, copy))


def _altered(version: Version, name: str, fault: str) -> str:
    mend = "Put it back from a copy, or register the model again."
    return f"{version.called}: {name} {fault} since it was registered. {mend}"
