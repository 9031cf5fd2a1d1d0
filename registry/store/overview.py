"""What the registry holds of a model, at a glance for `headrace status`: the embedded store is read without MLflow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

from core.errors import Outage
from registry.store.connection import answering, connect, database, is_embedded
from registry.store.ledger_head import HEAD_TAG, Head, parse_head
from registry.store.versions import CHAMPION, accepted, read_versions

_TAG = "version."  # tags of a training run: version.transformers
_NEWEST = (  # MLflow keeps a deleted version's row and marks it
    "SELECT version, run_id FROM model_versions WHERE name = ? AND current_stage IS NOT 'Deleted_Internal'"
    " ORDER BY version DESC LIMIT 1"
)
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
        return _moved(self.libraries)


def glance(name: str, var: Path) -> Glance:
    """The newest version, the aliases and the libraries. Raises Outage when the server does not answer."""
    return _read_file(name, database(var)) if is_embedded() else _ask_server(name, var)


def libraries_moved(run_id: str, var: Path) -> dict[str, tuple[str, str]]:
    """Library -> (version when the run trained, version now), of those that have another one now."""
    with answering():
        return _moved(_libraries(connect(var).get_run(run_id).data.tags))


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


def moved(var: Path) -> list[str]:
    """The models whose alias `champion` is not where their ledger says. Raises Outage."""
    return [each.name for each in standings(var) if each.moved]


def with_ledger(var: Path) -> list[str]:
    """The models that have entries. Raises Outage."""
    return [each.name for each in standings(var) if each.head is not None]


def standings(var: Path) -> list[Standing]:
    """Every registered model. Raises Outage."""
    if not is_embedded():
        with answering():
            client = connect(var)
            models = client.search_registered_models(max_results=1000)
            return [Standing(m.name, m.aliases.get(CHAMPION), parse_head(m.tags.get(HEAD_TAG))) for m in models]
    if not database(var).is_file():
        return []
    with opened(database(var)) as store:
        found = store.execute(_CHAMPIONS, (CHAMPION, HEAD_TAG)).fetchall()
    return [Standing(name, None if alias is None else str(alias), parse_head(head)) for name, alias, head in found]


@contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    """The embedded store, to read. Raises Outage when it cannot be read."""
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=20)) as store:
            yield store
    except sqlite3.DatabaseError as error:
        raise Outage(
            f"{file} cannot be read ({error}). Run again; if it stays, put a copy of it in its place."
        ) from None


def _read_file(name: str, file: Path) -> Glance:
    if not file.is_file():
        return Glance(None, {}, {})
    with opened(file) as store:
        newest, run_id = store.execute(_NEWEST, (name,)).fetchone() or (None, None)
        aliases = {alias: str(version) for alias, version in store.execute(_ALIASES, (name,))}
        (ledger,) = store.execute(_LEDGER, (name, HEAD_TAG)).fetchone() or (None,)
        tags = dict(store.execute(_TAGS, (run_id,)))
    return Glance(None if newest is None else str(newest), accepted(aliases, ledger), _libraries(tags))


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


def _moved(libraries: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    now = {library: _installed(library) for library in libraries if library != "python"}
    return {library: (libraries[library], at) for library, at in now.items() if at != libraries[library]}


def _installed(library: str) -> str:
    try:
        return installed(library)
    except PackageNotFoundError:
        return "none"
