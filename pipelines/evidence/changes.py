"""What differs in how two versions were made: settings, data and code, from what was kept with each. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.code import changed_files

# Sections of settings.json that say what the data and the code were, and the seal over all of it.
_DATA = ("source", "bases", "judged")
_LEFT_OUT = (*_DATA, "reference", "code", "examples", "sha256")
_HASHES = ("raw_hash", "validated_hash", "prepared_hash", "base_hash")  # of the evidence's origin
_COMMIT = "code_commit"

Changed = dict[str, tuple[Any, Any]]  # key -> what the first has and what the second has; None: it lacks the key


@dataclass(frozen=True)
class Made:
    """What was kept with a version of how it was made.

    told: evidence.json. settings: settings.json. rows: how many rows it was made of, after screening. code: code.json.
    {} or None where an earlier Headrace did not keep it.
    """

    told: Mapping[str, Any]
    settings: Mapping[str, Any]
    rows: int | None
    code: Mapping[str, Any]


@dataclass(frozen=True)
class Changes:
    """settings: by flattened key ("training.epochs"). data: hashes, row counts, what identifies source and bases.

    commit: of the code, where another one. files: of code that differ; None where that was not kept with both.
    """

    settings: Changed
    data: Changed
    commit: tuple[str, str] | None
    files: list[str] | None


def changes(first: Made, second: Made) -> Changes:
    settings = [
        flat({key: value for key, value in each.settings.items() if key not in _LEFT_OUT}) for each in (first, second)
    ]
    data = [_data(each) for each in (first, second)]
    commits = (_origin(first).get(_COMMIT, "none"), _origin(second).get(_COMMIT, "none"))
    both = first.code and second.code
    return Changes(
        settings=changed(*settings),
        data=changed(*data),
        commit=commits if commits[0] != commits[1] else None,
        files=changed_files(first.code, second.code) if both else None,
    )


def flat(document: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested keys joined by dots; a list is one value, an empty section is none."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        name = f"{above}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def changed(first: Mapping[str, Any], second: Mapping[str, Any]) -> Changed:
    """The keys whose values differ, sorted."""
    keys = sorted(first.keys() | second.keys())
    return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}


def _data(made: Made) -> dict[str, Any]:
    test = made.told.get("test", {})
    named = {key: made.settings.get(key) or {} for key in _DATA}
    return {
        **{name: _origin(made).get(name) for name in _HASHES},
        "rows after screening": made.rows,
        "test rows": test.get("rows"),
        "test_hash": test.get("hash"),
        **flat(named),
    }


def _origin(made: Made) -> Mapping[str, Any]:
    origin: Mapping[str, Any] = made.told.get("origin", {})
    return origin
