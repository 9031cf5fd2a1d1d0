"""What the registry holds of a model, at a glance; is what registered.json says still true?"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.store.connection import if_there, server_name, shown_server
from registry.store.embedded_reader import reading
from registry.store.ledger_head import HEAD_TAG, Head, parse_head
from registry.store.versions import CHAMPION, FREED, read_versions, registered

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TAG = "version."  # tags of a training run: version.transformers


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
    with reading(var) as client:
        found = read_versions(client, name)
        if not found:
            return Glance(None, {}, {})
        aliases = {alias: version.version for version in found for alias in version.aliases}
        run = if_there(client.get_run, found[0].run_id)  # None: it was deleted
    return Glance(found[0].version, aliases, _libraries(run.data.tags if run else {}))


def libraries_moved(run_id: str, var: Path) -> dict[str, tuple[str, str]]:
    """Library -> (version when the run trained, version now), of those that have another one now."""
    with reading(var) as client:
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
    with reading(var) as client:
        models = client.search_registered_models(max_results=1000)
        return [Standing(m.name, m.aliases.get(CHAMPION), parse_head(m.tags.get(HEAD_TAG))) for m in models]


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
    with reading(var) as client:
        known = read_versions(client, name)
        mine = next((each for each in known if each.version == version), None)
        if mine is None:
            return _lost(client, name, version, str(receipt.get("run_id")))
        standing = registered(client, name)
    if mine.model_hash != receipt["model_hash"]:
        return f"{name}/{version} in {shown_server()} is another model"
    if mine.tags.get(FREED):
        return f"the files of {name}/{version} were freed by `headrace gc`"
    lost = sorted(set(receipt["aliases"]) - set(standing.aliases if standing else ()))
    return f"no version of {name} is @{lost[0]} any more" if lost else None


def _lost(client: MlflowClient, name: str, version: str, run_id: str) -> str:
    """What became of a version that the registry does not have, as far as it can tell."""
    there = registered(client, name) is not None
    others = [each.name for each in client.search_model_versions(f"run_id = '{run_id}'")]
    if there:
        return f"{name}/{version} is not in {shown_server()}: it was deleted there"
    if others:
        return f"{name} was renamed to {others[0]} in {shown_server()}"
    return f"{name}/{version} is not in {shown_server()}: {name} was deleted or renamed there, or never registered"


def _libraries(tags: Mapping[str, str]) -> dict[str, str]:
    return {key.removeprefix(_TAG): value for key, value in tags.items() if key.startswith(_TAG)}


def _installed(library: str) -> str:
    try:
        return installed(library)
    except PackageNotFoundError:
        return "none"
