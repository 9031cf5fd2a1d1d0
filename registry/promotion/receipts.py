"""Is what registered.json says still true? Asked before every run, so the embedded store is read without MLflow."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from core.errors import Outage
from registry.store.connection import answering, connect, database, is_embedded, server_name, shown_server
from registry.store.versions import FREED, MODEL_HASH, read_versions

# MLflow keeps a deleted version's row and marks it (mlflow/entities/model_registry/model_version_stages.py).
_VERSION = (
    "SELECT t.value, f.value FROM model_versions v LEFT JOIN model_version_tags t"
    " ON t.name = v.name AND t.version = v.version AND t.workspace = v.workspace AND t.key = ?"
    " LEFT JOIN model_version_tags f"
    " ON f.name = v.name AND f.version = v.version AND f.workspace = v.workspace AND f.key = ?"
    " WHERE v.name = ? AND v.version = ? AND v.current_stage IS NOT 'Deleted_Internal'"
)
_ALIASES = "SELECT alias FROM registered_model_aliases WHERE name = ?"


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
    read = _read_file if is_embedded() else _ask_server
    model_hash, freed, standing = read(name, version, var)
    if model_hash is None:
        return f"{name}/{version} is not in {shown_server()}"
    if model_hash != receipt["model_hash"]:
        return f"{name}/{version} in {shown_server()} is another model"
    if freed:
        return f"the files of {name}/{version} were freed by `headrace gc`"
    lost = sorted(set(receipt["aliases"]) - standing)
    return f"no version of {name} is @{lost[0]} any more" if lost else None


def _read_file(name: str, version: str, var: Path) -> tuple[str | None, bool, set[str]]:
    """The version's model hash (None: no such version), whether it was freed, and the aliases that any version has."""
    file = database(var)
    if not file.is_file():
        return None, False, set()
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=20)) as store:
            found = store.execute(_VERSION, (MODEL_HASH, FREED, name, int(version))).fetchone()
            standing = {alias for (alias,) in store.execute(_ALIASES, (name,))}
    except sqlite3.DatabaseError as error:
        raise Outage(
            f"{file} cannot be read ({error}). Run again; if it stays, put a copy of it in its place."
        ) from None
    return ((found[0] or "") if found else None), bool(found and found[1]), standing


def _ask_server(name: str, version: str, var: Path) -> tuple[str | None, bool, set[str]]:
    with answering():
        found = read_versions(connect(var), name)
    mine = next((entry for entry in found if entry.version == version), None)
    standing = {alias for entry in found for alias in entry.aliases}
    return ((mine.model_hash or "") if mine else None), bool(mine and FREED in mine.tags), standing
