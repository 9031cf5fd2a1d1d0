"""MLflow's webhooks: what its server needs to send one to this machine, and the one that a workspace registers."""

from __future__ import annotations

import base64
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from core.atomic_files import write_private
from registry.store.connection import answering, quiet, sent_once

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.webhook import WebhookEvent, WebhookEventStr

_KEY_BYTES = 32  # MLflow keeps a webhook's secret encrypted by Fernet


def server_settings(folder: Path) -> dict[str, str]:
    """The environment of an MLflow server that sends webhooks to loopback. folder: where its database lies.

    The key lies beside the database, because a database whose key is lost can list no webhook any more.
    """
    return {
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": _key(folder / "webhooks.key"),
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",  # seconds; by default it learns of a new webhook after a minute
    }


def subscribe(server: str, name: str, url: str, secret: str) -> None:
    """Have a server tell `url` of every alias that is moved over it, in place of an earlier webhook of that name.

    Raises Outage when it does not answer, HeadraceError when it has no webhooks or may not send them there.
    """
    with answering():
        client = _client(server)
        _delete(client, name)
        with sent_once():
            events: list[WebhookEventStr | WebhookEvent] = [
                "model_version_alias.created", "model_version_alias.deleted",
            ]  # fmt: skip
            client.create_webhook(name, url, events, "wakes `headrace schedule`", secret)


def unsubscribe(server: str, name: str) -> None:
    """Remove the webhook of that name, if it is there. Raises as subscribe()."""
    with answering():
        _delete(_client(server), name)


def _client(server: str) -> MlflowClient:
    quiet()
    from mlflow import MlflowClient

    return MlflowClient(server, registry_uri=server)


def _delete(client: MlflowClient, name: str) -> None:
    for webhook in client.list_webhooks(max_results=1000):
        if webhook.name == name:
            client.delete_webhook(webhook.webhook_id)


def _key(file: Path) -> str:
    """The key in a file that nobody else may read; made when there is none. One process at a time."""
    if not file.exists():
        write_private(file, base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode())
    return file.read_text()
