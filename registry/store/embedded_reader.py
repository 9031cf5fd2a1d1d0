"""The embedded store, read as the SQLite file that it is: what of MLflow's client only asks, answered without MLflow.

`import mlflow` and the opening of its store take three seconds of CPU, and most commands only want to look.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from core.errors import Outage
from registry.store.connection import NotThere, artifacts, asking, database, is_embedded, shown_server
from registry.store.moved import at_home

if TYPE_CHECKING:
    from mlflow import MlflowClient

_FILTER = re.compile(r"(?:tags\.`?(?P<tag>[^`=]+?)`?|(?P<column>name|run_id)) ?= ?'(?P<value>[^']*)'")
_MODELS = "SELECT name FROM registered_models WHERE name = ? OR ? IS NULL ORDER BY name"
_MODEL_TAGS = "SELECT key, value FROM registered_model_tags WHERE name = ?"
_ALIASES = "SELECT alias, version FROM registered_model_aliases WHERE name = ?"
_VERSIONS = (  # MLflow keeps a deleted version's row and marks it
    "SELECT name, version, run_id, source, creation_time FROM model_versions v"
    " WHERE current_stage IS NOT 'Deleted_Internal' AND "
)
_WITH_TAG = (
    "EXISTS (SELECT 1 FROM model_version_tags t WHERE t.name = v.name AND t.version = v.version AND t.key = ?"
    " AND t.value = ?)"
)
_WITH_COLUMN = {"name": "name = ?", "run_id": "run_id = ?"}
_VERSION_TAGS = "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?"
_RUNS = "SELECT run_uuid, artifact_uri, start_time FROM runs r WHERE "
_OF_EXPERIMENT = (
    "lifecycle_stage = 'active' AND experiment_id = ? AND EXISTS"
    " (SELECT 1 FROM tags t WHERE t.run_uuid = r.run_uuid AND t.key = ? AND t.value = ?)"
)
_RUN_TAGS = "SELECT key, value FROM tags WHERE run_uuid = ?"
_LOGGED = "SELECT artifact_location FROM logged_models WHERE model_id = ? AND lifecycle_stage = 'active'"
_EXPERIMENT = "SELECT experiment_id, lifecycle_stage FROM experiments WHERE name = ?"


@contextmanager
def reading(var: Path) -> Iterator[MlflowClient]:
    """As `asking`, for those who change nothing. An embedded store that is not there yet is empty, and stays so.

    Raises Outage when it cannot be read.
    """
    if not is_embedded():
        with asking(var) as client:
            yield client
        return
    file = database(var)
    place = f"{file.resolve().as_uri()}?mode=ro" if file.is_file() else None
    with closing(sqlite3.connect(place or ":memory:", uri=True, timeout=20, isolation_level=None)) as store:
        yield cast("MlflowClient", EmbeddedReader(store if place else None, file, artifacts(var).resolve().as_uri()))


class Page(list[Any]):
    """All that a search found: there is no other page."""

    token = None


class EmbeddedReader:
    """Answers as MLflow's client does, for the few questions that this project has.

    store: None before there is one. home: where its artifacts lie now; the workspace may have been moved.
    """

    def __init__(self, store: sqlite3.Connection | None, file: Path, home: str) -> None:
        self._store, self._file, self._home = store, file, home

    def get_registered_model(self, name: str) -> Any:
        return _only(self._models(name), name)

    def search_registered_models(self, max_results: int | None = None, page_token: None = None) -> Page:
        return Page(self._models(None)[:max_results])

    def search_model_versions(self, wanted: str, max_results: int | None = None, page_token: None = None) -> Page:
        found = _understood(wanted)
        if found["tag"]:
            rows = self._ask(_VERSIONS + _WITH_TAG, found["tag"], found["value"])
        else:
            rows = self._ask(_VERSIONS + _WITH_COLUMN[found["column"]], found["value"])
        return Page(self._version(*row) for row in rows[:max_results])

    def get_run(self, run_id: str) -> Any:
        return _only(self._runs("run_uuid = ?", run_id), run_id)

    def search_runs(
        self, experiments: Sequence[str], wanted: str, max_results: int | None = None, page_token: None = None
    ) -> Page:
        found = _understood(wanted)
        asked = [self._runs(_OF_EXPERIMENT, each, found["tag"], found["value"]) for each in experiments]
        return Page([run for runs in asked for run in runs][:max_results])

    def get_experiment_by_name(self, name: str) -> Any:
        rows = self._ask(_EXPERIMENT, name)
        return SimpleNamespace(experiment_id=str(rows[0][0]), lifecycle_stage=rows[0][1]) if rows else None

    def get_logged_model(self, model_id: str) -> Any:
        (place,) = _only(self._ask(_LOGGED, model_id), model_id)
        return SimpleNamespace(model_id=model_id, artifact_location=at_home(place, here=self._home))

    def _models(self, name: str | None) -> list[Any]:
        return [
            SimpleNamespace(
                name=each,
                tags=dict(self._ask(_MODEL_TAGS, each)),
                aliases={alias: str(version) for alias, version in self._ask(_ALIASES, each)},
            )
            for (each,) in self._ask(_MODELS, name, name)
        ]

    def _version(self, name: str, version: int, run_id: str | None, source: str, created_ms: int) -> Any:
        return SimpleNamespace(
            name=name, version=str(version), run_id=run_id or "", source=source, model_id=None,
            creation_timestamp=created_ms, tags=dict(self._ask(_VERSION_TAGS, name, version)),
        )  # fmt: skip

    def _runs(self, condition: str, *values: str) -> list[Any]:
        return [
            SimpleNamespace(
                info=SimpleNamespace(run_id=run, artifact_uri=at_home(place, here=self._home), start_time=started),
                data=SimpleNamespace(tags=dict(self._ask(_RUN_TAGS, run))),
            )
            for run, place, started in self._ask(_RUNS + condition, *values)
        ]

    def _ask(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        if self._store is None:
            return []
        try:
            return self._store.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise Outage(
                f"{self._file} cannot be read ({error}). Run again; if it stays, put a copy of it in its place."
            ) from None


def _only(found: Sequence[Any], what: str) -> Any:
    if not found:
        raise NotThere(f"{shown_server()} has nothing called {what!r}.")
    return found[0]


def _understood(wanted: str) -> re.Match[str]:
    """A filter of MLflow's: a column or a tag, and its value."""
    match = _FILTER.fullmatch(wanted)
    assert match is not None, f"MLflow's client understands {wanted!r}, and this reader does not"
    return match
