"""The runs in which MLflow keeps the entries of ledgers, found by their tags; and what became of a model that has
entries and is not in the registry: by them it is known that there was one, and which one has its tag now.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from registry.store.connection import every_page, shown_server
from registry.store.ledger_head import HEAD_TAG, parse_head

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "headrace-ledger"
MODEL, NUMBER, HASH, ENTRY = (f"ledger.{name}" for name in ("model", "number", "hash", "entry"))
_SHA256 = re.compile(r"[0-9a-f]{64}")  # what a tag says may be anybody's, and stands in a filter


def entries_of(client: MlflowClient, model: str) -> list[Run]:
    """Every entry about a model, those in MLflow's bin left out."""
    return _search(client, f"tags.`{MODEL}` = '{model}'")


def model_of(client: MlflowClient, entry: str) -> str | None:
    """About which model the entry of this hash is."""
    found = _search(client, f"tags.`{HASH}` = '{entry}'") if _SHA256.fullmatch(entry) else []
    return str(found[0].data.tags.get(MODEL)) if found else None


def whereabouts(client: MlflowClient, model: str) -> str | None:
    """Of a model that is not in the registry, what became of it there, in words; None: it never had a version."""
    hashes = {run.data.tags.get(HASH) for run in entries_of(client, model)}
    if not hashes:
        return None
    models = every_page(client.search_registered_models)
    heads = [(head, other.name) for other in models if (head := parse_head(other.tags.get(HEAD_TAG))) is not None]
    same = [(head.number, name) for head, name in heads if head.hash in hashes and name != model]
    if same:
        return f"{model} was renamed to {max(same)[1]} in {shown_server()}"
    return f"{model} was deleted in {shown_server()}, or renamed there"


def _search(client: MlflowClient, wanted: str) -> list[Run]:
    found = client.get_experiment_by_name(EXPERIMENT)
    return every_page(client.search_runs, [found.experiment_id], wanted) if found is not None else []
