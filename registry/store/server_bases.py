"""The bases of adapters on an MLflow server: a run each in a reserved experiment, found by the hash of its files.

Packed with every version, so that one which MLflow loads without this project finds its base too.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from core.addresses import without_secrets
from core.atomic_files import replacing
from core.errors import BadRequest, HeadraceError
from core.file_locks import held
from core.weights.base_store import FOLDER, NamedBase, base_folder, cached, named_base, unlike

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "headrace-bases"
TAG = "headrace.base"


def kept_run(client: MlflowClient, named: NamedBase) -> Run | None:
    """The run that holds a base, whole."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        return None
    wanted = f"tags.`{TAG}` = '{named.files}' and attributes.status = 'FINISHED'"
    runs = client.search_runs([found.experiment_id], wanted, max_results=1)
    return runs[0] if runs else None


def fetch(client: MlflowClient, run: Run | None, named: NamedBase, folder: Path) -> None:
    """Make `folder` the base that a run holds, unless it is; processes that want the same wait for each other.

    Raises BadRequest when there is no run.
    """
    if run is None:
        server = without_secrets(client.tracking_uri)
        raise BadRequest(f"{named} is not on this machine, nor in {server}. Register the model again.")
    with held(folder.parent / f".{folder.name}.lock"):
        if unlike(folder, named.files) is None:
            return
        with tempfile.TemporaryDirectory(prefix="headrace-") as scratch, replacing(folder) as fresh:
            shutil.copytree(client.download_artifacts(run.info.run_id, FOLDER, scratch), fresh, dirs_exist_ok=True)


def bring(model: Path) -> None:
    """Fetch the base of a packed model from MLflow's default server into the user's cache, unless it is here."""
    named = named_base(model)
    if named is None:
        return
    try:
        base_folder(model)
    except HeadraceError:
        from mlflow import MlflowClient

        client = MlflowClient()
        fetch(client, kept_run(client, named), named, cached(named.files))
