"""What the registry holds of a model, at a glance for `headrace status`: the embedded store is read without MLflow."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

from pipelines.errors import Outage
from registry.connection import answering, connect, database, is_embedded
from registry.versions import read_versions

_TAG = "version."  # tags of a training run: version.transformers
_NEWEST = (  # MLflow keeps a deleted version's row and marks it
    "SELECT version, run_id FROM model_versions WHERE name = ? AND current_stage IS NOT 'Deleted_Internal'"
    " ORDER BY version DESC LIMIT 1"
)
_ALIASES = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"
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
    return _read_file(name, database(var)) if is_embedded() else _ask_server(name, var)


def _read_file(name: str, file: Path) -> Glance:
    if not file.is_file():
        return Glance(None, {}, {})
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=20)) as store:
            newest, run_id = store.execute(_NEWEST, (name,)).fetchone() or (None, None)
            aliases = {alias: str(version) for alias, version in store.execute(_ALIASES, (name,))}
            tags = dict(store.execute(_TAGS, (run_id,)))
    except sqlite3.DatabaseError as error:
        raise Outage(
            f"{file} cannot be read ({error}). Run again; if it stays, put a copy of it in its place."
        ) from None
    return Glance(None if newest is None else str(newest), aliases, _libraries(tags))


def _ask_server(name: str, var: Path) -> Glance:
    from mlflow.exceptions import MlflowException

    with answering():
        client = connect(var)
        found = read_versions(client, name)
        if not found:
            return Glance(None, {}, {})
        aliases = {alias: version.version for version in found for alias in version.aliases}
        try:
            tags = client.get_run(found[0].run_id).data.tags
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            tags = {}  # its run was deleted
    return Glance(found[0].version, aliases, _libraries(tags))


def _libraries(tags: Mapping[str, str]) -> dict[str, str]:
    return {key.removeprefix(_TAG): value for key, value in tags.items() if key.startswith(_TAG)}


def _installed(library: str) -> str:
    try:
        return installed(library)
    except PackageNotFoundError:
        return "none"
