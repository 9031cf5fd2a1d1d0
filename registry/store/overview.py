"""What the registry holds of a model, at a glance; is what registered.json says still true?

Asked before every run and by `headrace status`, so the embedded store is read without MLflow.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from core.errors import Outage
from registry.store.connection import asking, database, if_there, is_embedded, server_name, shown_server
from registry.store.ledger_head import HEAD_TAG, Head, parse_head
from registry.store.versions import CHAMPION, FREED, MODEL_HASH, accepted, read_versions, registered

_TAG = "version."  # tags of a training run: version.transformers
# MLflow keeps a deleted version's row and marks it (mlflow/entities/model_registry/model_version_stages.py).
_NEWEST = (
    "SELECT version, run_id FROM model_versions WHERE name = ? AND current_stage IS NOT 'Deleted_Internal'"
    " ORDER BY version DESC LIMIT 1"
)
_VERSION = (
    "SELECT t.value, f.value FROM model_versions v LEFT JOIN model_version_tags t"
    " ON t.name = v.name AND t.version = v.version AND t.workspace = v.workspace AND t.key = ?"
    " LEFT JOIN model_version_tags f"
    " ON f.name = v.name AND f.version = v.version AND f.workspace = v.workspace AND f.key = ?"
    " WHERE v.name = ? AND v.version = ? AND v.current_stage IS NOT 'Deleted_Internal'"
)
_OF_RUN = "SELECT name FROM model_versions WHERE run_id = ? AND current_stage IS NOT 'Deleted_Internal'"
_KNOWN = "SELECT name FROM registered_models WHERE name = ?"
_ALIASES = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"
_LEDGER = "SELECT value FROM registered_model_tags WHERE name = ? AND key = ?"
_CHAMPIONS = (
    "SELECT m.name, a.version, t.value FROM registered_models m"
    " LEFT JOIN registered_model_aliases a ON a.name = m.name AND a.workspace = m.workspace AND a.alias = ?"
    " LEFT JOIN registered_model_tags t ON t.name = m.name AND t.workspace = m.workspace AND t.key = ?"
)
_TAGS = "SELECT key, value FROM tags WHERE run_uuid = ? AND key LIKE 'version.%'"


@dataclass(frozen=True)
class Glance:
    """newest: the last version, None without one. libraries: what it was trained with, by name."""

    newest: str | None
    aliases: Mapping[str, str]  # alias -> version
    libraries: Mapping[str, str]

    @property
    def moved(self) -> dict[str, tuple[str, str]]:
        """Library -> (version then, version now), of those that have another one now; "none" when it is gone."""
        now = {library: _installed(library) for library in self.libraries if library != "python"}
        return {library: (self.libraries[library], at) for library, at in now.items() if at != self.libraries[library]}


def glance(name: str, var: Path) -> Glance:
    """The newest version, the aliases and the libraries. Raises Outage when the server does not answer."""
    return _glance_at_file(name, var) if is_embedded() else _glance_at_server(name, var)


def libraries_moved(run_id: str, var: Path) -> dict[str, tuple[str, str]]:
    """Library -> (version when the run trained, version now), of those that have another one now."""
    with asking(var) as client:
        return Glance(None, {}, _libraries(client.get_run(run_id).data.tags)).moved


@dataclass(frozen=True)
class Standing:
    """A registered model: where its alias `champion` stands, and what its ledger says."""

    name: str
    alias: str | None
    head: Head | None

    @property
    def accepted(self) -> str | None:
        """The champion that is served."""
        return self.head.champion if self.head else None

    @property
    def moved(self) -> bool:
        """Whether the alias is not where the ledger says, or a move was begun and not finished."""
        return self.alias != self.accepted or (self.head is not None and not self.head.settled)


def standings(var: Path) -> list[Standing]:
    """Every registered model. Raises Outage."""
    if not is_embedded():
        with asking(var) as client:
            models = client.search_registered_models(max_results=1000)
            return [Standing(m.name, m.aliases.get(CHAMPION), parse_head(m.tags.get(HEAD_TAG))) for m in models]
    found = ask_file(var, _CHAMPIONS, CHAMPION, HEAD_TAG)
    return [Standing(name, None if alias is None else str(alias), parse_head(head)) for name, alias, head in found]


def receipt_holds(receipt: Mapping[str, Any], var: Path) -> str | None:
    """Why a receipt is no longer true, or None when it is.

    An alias that people gave to another version is no reason; one that nothing has any more is.
    Raises Outage when the server does not answer: then nobody knows.
    """
    if receipt.get("experiment"):
        return None if os.environ.get("DVC_EXP_NAME") else "an experiment wrote it, and experiments register nothing"
    if receipt["server"] != server_name():
        return f"it is of {receipt['server']}, and {shown_server()} is in charge"
    name, version = receipt["model"], str(receipt["version"])
    if is_embedded():
        found = ask_file(var, _VERSION, MODEL_HASH, FREED, name, version)
        standing = {alias for alias, _ in ask_file(var, _ALIASES, name)}
    else:
        with asking(var) as client:
            known = read_versions(client, name)
        found = [(each.model_hash, each.tags.get(FREED)) for each in known if each.version == version]
        standing = {alias for each in known for alias in each.aliases}
    if not found:
        return _lost(name, version, str(receipt.get("run_id")), var)
    model_hash, freed = found[0]
    if model_hash != receipt["model_hash"]:
        return f"{name}/{version} in {shown_server()} is another model"
    if freed:
        return f"the files of {name}/{version} were freed by `headrace gc`"
    lost = sorted(set(receipt["aliases"]) - standing)
    return f"no version of {name} is @{lost[0]} any more" if lost else None


def _lost(name: str, version: str, run_id: str, var: Path) -> str:
    """What became of a version that the registry does not have, as far as it can tell."""
    if is_embedded():
        there = bool(ask_file(var, _KNOWN, name))
        others = [other for (other,) in ask_file(var, _OF_RUN, run_id)]
    else:
        with asking(var) as client:
            there = registered(client, name) is not None
            others = [each.name for each in client.search_model_versions(f"run_id = '{run_id}'")]
    if there:
        return f"{name}/{version} is not in {shown_server()}: it was deleted there"
    if others:
        return f"{name} was renamed to {others[0]} in {shown_server()}"
    return f"{name}/{version} is not in {shown_server()}: {name} was deleted or renamed there, or never registered"


def ask_file(var: Path, query: str, *values: str | None) -> list[tuple[Any, ...]]:
    """The rows of the embedded store; none when there is no store yet. Raises Outage when it cannot be read."""
    file = database(var)
    if not file.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=20)) as store:
            return store.execute(query, values).fetchall()
    except sqlite3.DatabaseError as error:
        raise Outage(
            f"{file} cannot be read ({error}). Run again; if it stays, put a copy of it in its place."
        ) from None


def _glance_at_file(name: str, var: Path) -> Glance:
    newest, run_id = next(iter(ask_file(var, _NEWEST, name)), (None, None))
    aliases = {alias: str(version) for alias, version in ask_file(var, _ALIASES, name)}
    (ledger,) = next(iter(ask_file(var, _LEDGER, name, HEAD_TAG)), (None,))
    tags = dict(ask_file(var, _TAGS, run_id))
    return Glance(None if newest is None else str(newest), accepted(aliases, ledger), _libraries(tags))


def _glance_at_server(name: str, var: Path) -> Glance:
    with asking(var) as client:
        found = read_versions(client, name)
        if not found:
            return Glance(None, {}, {})
        aliases = {alias: version.version for version in found for alias in version.aliases}
        run = if_there(client.get_run, found[0].run_id)  # None: it was deleted
    return Glance(found[0].version, aliases, _libraries(run.data.tags if run else {}))


def _libraries(tags: Mapping[str, str]) -> dict[str, str]:
    return {key.removeprefix(_TAG): value for key, value in tags.items() if key.startswith(_TAG)}


def _installed(library: str) -> str:
    try:
        return installed(library)
    except PackageNotFoundError:
        return "none"
