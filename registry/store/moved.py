"""The embedded store of a workspace that was moved or copied: MLflow keeps absolute places of files in its database.

They are written anew, because MLflow itself reads and writes by them: its page does, and so does whoever loads a model
with its client. In a copy of a workspace they would lead into the original.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

_COLUMNS = {  # of MLflow's tables (mlflow/store/tracking/dbmodels/models.py, mlflow/store/model_registry/dbmodels)
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}
_BELOW_VAR = "/mlflow/artifacts"


def bring_home(database: Path, here: str) -> None:
    """Let every place of the store that lies in the artifacts of some workspace lie in those of this one.

    here: the URI of its artifacts.
    """
    with closing(sqlite3.connect(database, timeout=20)) as store:
        store.create_function("home", 1, partial(at_home, here=here), deterministic=True)
        for table, column in _COLUMNS.items():
            # The first condition costs a tenth of the second, and is false of all in a workspace that stayed.
            moved = f"substr({column}, 1, {len(here)}) <> ? AND {column} <> home({column})"
            if store.execute(f"SELECT 1 FROM {table} WHERE {moved} LIMIT 1", (here,)).fetchone():  # noqa: S608
                with store:
                    store.execute(f"UPDATE {table} SET {column} = home({column}) WHERE {moved}", (here,))  # noqa: S608


def at_home(place: str | None, *, here: str) -> str | None:
    """A place of files on a disk, below `here` where it was below the artifacts of a workspace; any other as it is.

    The last such folder in it counts: a workspace may lie in another one's artifacts, and no name of MLflow's own below
    them (RECIPE/RUN/artifacts, RECIPE/models/ID/artifacts) reads like one.
    """
    if place is None or not place.startswith(("file:", "/")) or place.startswith(here):
        return place
    _, found, rest = (place + "/").rpartition(_BELOW_VAR + "/")
    return f"{here}/{rest}".rstrip("/") if found else place
