"""Which file made a stage stale, where its code changed: dvc.yaml knows one hash a stage, data/code.json the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from core.atomic_files import said_in
from core.workspace import Workspace
from flows.graph.graph import CODE_STAGE
from pipelines.code import CODE, EARLIER, changed_files, document, files_of

_SHOWN = 3  # files named for one stage
_OF_DVC = f"{CODE}:"  # how DVC's reasons for such a stage begin


def with_files(
    workspace: Workspace, addresses: Sequence[str], stale: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    """What is stale of these stages and why: files in the place of hashes, and what a stale `code` will make stale."""
    found = {at: [why for why in whys if not why.startswith(_OF_DVC)] for at, whys in stale.items() if at != CODE_STAGE}
    if CODE_STAGE not in stale and all(len(found[at]) == len(stale[at]) for at in found):
        return found
    now = document(workspace.root) if CODE_STAGE in stale else said_in(workspace.root / CODE)
    earlier = sorted((workspace.var / EARLIER).glob("*.json"), key=lambda path: -path.stat().st_mtime)
    before = [said_in(file) for file in (workspace.root / CODE, *earlier)]
    recorded = _recorded(workspace.root)
    for address in addresses:
        if address != CODE_STAGE and "it never ran" not in found.get(address, ()):
            whys = list(dict.fromkeys(_changes(workspace.root, recorded.get(address, {}), now, before)))
            if whys:
                found[address] = [*whys, *found.get(address, ())]
    return {at: whys for at, whys in found.items() if whys}


def _changes(
    root: Path, recorded: Mapping[str, Any], now: Mapping[str, Any], before: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """For each key of code.json that a stage ran with, and that is another one now, the files that made it so."""
    for key, then in recorded.items():
        if _at(now, key) == then:
            continue
        known = next((each for each in before if _at(each, key) == then), None)
        changed, own = changed_files(known, now) if known else [], files_of(root, key)
        named = [file for file in changed if file in own] or changed
        yield from (f"{file} changed" for file in named[:_SHOWN])
        if len(named) > _SHOWN:
            yield f"{len(named) - _SHOWN} more files changed"
        if not named:
            yield "its code changed"


def _at(said: Mapping[str, Any], key: str) -> Any:
    """The value at a path with dots."""
    value: Any = said
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _recorded(root: Path) -> dict[str, dict[str, Any]]:
    """By stage, the keys of code.json that it last ran with. A machine's file: the fast parser will do."""
    file = root / "dvc.lock"
    stages = YAML(typ="safe").load(file).get("stages", {}) if file.exists() else {}
    return {address: dict(entry.get("params", {}).get(CODE, {})) for address, entry in stages.items()}
