"""The files that are kept with a version, each compared with the hash that evidence.json has of it.

A tag of the version has the hash of evidence.json, the ledger knows it, and evidence.sig is over it. What evidence.json
does not name is no part of the version: an earlier registration left it, or somebody put it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.atomic_files import read_json, sha256_file
from core.errors import BadData
from core.workspace import inside
from registry.store import signing
from registry.store.versions import EVIDENCE_HASH, GONE, PREDICTIONS, PROFILE, Version, champion, evidence

FILES = "files"  # of evidence.json: name -> sha256
SETTINGS, LOCK = "settings.json", "dvc-lock.json"
_IN_ORIGIN = {SETTINGS: "recipe_hash", LOCK: "dvc_lock_hash"}  # before evidence.json had FILES
_MEND = "Put it back from a copy, or register the model again"


def hashes_of(files: Mapping[str, Path]) -> dict[str, str]:
    """What evidence.json has under FILES. files: name -> a file or a folder that is kept under it."""
    found: dict[str, str] = {}
    for name, path in files.items():
        below = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
        found |= {(Path(name) / each.relative_to(path)).as_posix(): sha256_file(each) for each in below}
    return found


def bundle(version: Version, var: Path) -> dict[str, Any] | None:
    """evidence.json as it was registered; None for a version of before there was one. Raises BadData for another."""
    file, tag = evidence(version, signing.BUNDLE, var), version.tags.get(EVIDENCE_HASH)
    if file is None:
        if tag is None:
            return None
        raise BadData(_altered(version, signing.BUNDLE, "is missing"))
    if tag is not None and sha256_file(file) != tag:
        raise BadData(_altered(version, signing.BUNDLE, "was edited"))
    told: dict[str, Any] = read_json(file)
    if told.get("model") != {"name": version.name, "model_hash": version.model_hash}:
        raise BadData(_altered(version, signing.BUNDLE, "is that of another version"))
    return told


def hashes(told: Mapping[str, Any] | None) -> tuple[dict[str, str], bool]:
    """Name -> sha256 of what was kept, and whether that is all of it. told: bundle()."""
    if told is None:
        return {}, False
    if FILES in told:
        return dict(told[FILES]), True
    origin, predictions = told.get("origin", {}), told.get("predictions")
    known = {name: origin[key] for name, key in _IN_ORIGIN.items() if key in origin}
    return known | ({PREDICTIONS: predictions} if predictions else {}), False


def lacking(told: Mapping[str, Any] | None) -> str | None:
    """What to say of a version that an earlier Headrace registered; None: every file that was kept has its hash."""
    known, whole = hashes(told)
    which = f"a hash of {' and '.join(known)} alone" if known else "no hash"
    return None if whole else f"an earlier Headrace registered it: of what was kept with it, there is {which}"


def recorded(version: Version, name: str, var: Path) -> Path | None:
    """A file that is kept with a version, compared; None when it was not kept. Raises BadData, naming the file.

    Of a version that an earlier Headrace registered, what evidence.json has no hash of is given as it is.
    """
    known, whole = hashes(bundle(version, var))
    if name not in known:
        return None if whole else evidence(version, name, var)
    file, fault = _compared(version, name, known[name], var)
    if fault is not None and not excused(version, name):
        raise BadData(_altered(version, name, fault))
    return file


def faults(version: Version, told: Mapping[str, Any] | None, var: Path) -> dict[str, str]:
    """The files that are not what was kept with a version -> how they differ. told: bundle()."""
    found = {name: _compared(version, name, sha256, var)[1] for name, sha256 in hashes(told)[0].items()}
    return {name: fault for name, fault in found.items() if fault is not None}


def excused(version: Version, name: str) -> bool:
    """Whether a file may differ: `headrace forget` takes a row's text out of what is kept, and such a version is not
    made again.
    """
    return GONE in version.tags and name != LOCK


def vouched(version: Version, var: Path) -> bool:
    """Whether a trusted key signed the hash of every file; False where no key is configured, or none are recorded.

    Raises BadData where a key is configured and evidence.json is not signed with one.
    """
    keys = signing.trusted_keys()
    if not keys:
        return False
    file = evidence(version, signing.BUNDLE, var)
    said = "there is none" if file is None else signing.fault(file, evidence(version, signing.EVIDENCE, var), keys)
    if said is not None:
        called = f"{version.name}/{version.version}"
        raise BadData(f"{called} is not used: of its {signing.BUNDLE}, {said} ({signing.TRUSTED}).")
    return hashes(bundle(version, var))[1]


def champion_profile(name: str, var: Path) -> dict[str, Any] | None:
    """The profile of the champion's data, for drift; None without a champion or when it has none."""
    version = champion(name, var)
    file = recorded(version, PROFILE, var) if version else None
    return read_json(file) if file else None


def _compared(version: Version, name: str, sha256: str, var: Path) -> tuple[Path | None, str | None]:
    """The file, and how it differs from what was kept."""
    inside(var, name)  # a name that leads out is refused
    file = evidence(version, name, var)
    if file is None:
        return None, "is missing"
    found = sha256_file(file)
    return file, None if found == sha256 else f"was altered (sha256 {found[:12]} now, {str(sha256)[:12]} then)"


def _altered(version: Version, name: str, fault: str) -> str:
    return f"{version.name}/{version.version}: {name} {fault} since it was registered. {_MEND}."
