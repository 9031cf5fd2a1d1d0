"""MLflow's page and API over the embedded store, as `mlflow server` makes them, for another process to serve."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry.store.connection import artifacts, prepare_embedded

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def mlflow_page(var: Path, *, hosts: Sequence[str], origin: str) -> ASGIApp:
    """The app. Sets what MLflow reads from the environment; imports MLflow, which takes seconds.

    hosts: the only values of Host that are answered. origin: the only one whose pages may change something.
    Source: mlflow/cli/__init__.py, `server`, and mlflow/server/__init__.py, `_run_server`, of MLflow 3.17.
    """
    store, kept = prepare_embedded(var), str(artifacts(var).resolve())
    os.environ |= {
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(hosts),
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": origin,
        "_MLFLOW_SERVER_FILE_STORE": store,
        "_MLFLOW_SERVER_REGISTRY_STORE": store,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": kept,
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": kept,
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "_MLFLOW_SERVER_BOOT_ID": uuid.uuid4().hex,
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
    }
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(store, store, kept)
    page: ASGIApp = app
    return page
