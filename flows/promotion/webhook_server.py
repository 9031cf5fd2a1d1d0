"""MLflow tells of a moved alias at once: a receiver on loopback, whose deliveries wake the watcher to look.

Nothing that a delivery says is used: who is champion is read from the registry. So one that is sent again while its
timestamp is still good costs one look more, and no list of deliveries is kept.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from core.errors import HeadraceError, Outage
from core.workspace import Workspace
from flows.servers import servers
from registry.store.connection import is_remote, server_name

_HOST = "127.0.0.1"
_LARGEST = 64 * 1024  # bytes of a delivery; MLflow's have some 300
_SILENCE_S = 5.0
_GOOD_FOR_S = 300  # a delivery's timestamp, to both sides: clocks differ, and MLflow tries again
_DIGITS = 12  # of a timestamp in seconds
_SIGNED = ("X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature")


def refusal(secret: str, headers: Mapping[str, str] | Message, body: bytes, now_s: float) -> str | None:
    """Why a delivery is not MLflow's; None: it is. Source: MLflow's documentation, "Webhook security"."""
    delivery, stamp, signature = (headers.get(name, "") for name in _SIGNED)
    if not (delivery and stamp and signature):
        return "it is not signed"
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= _DIGITS and abs(now_s - int(stamp)) <= _GOOD_FOR_S):
        return f"its timestamp is not of the last {_GOOD_FOR_S} s"
    content = f"{delivery}.{stamp}.".encode("utf-8", "replace") + body
    expected = b"v1," + base64.b64encode(hmac.digest(secret.encode(), content, hashlib.sha256))
    same = hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
    return None if same else "its signature is not that of this workspace's webhook"


class Webhook:
    """The webhook of a workspace: registered as soon as an MLflow server of this machine is up, removed at the end."""

    def __init__(self, workspace: Workspace, url: str, secret: str, say: Callable[[str], None]) -> None:
        self._workspace, self._url, self._secret, self._say = workspace, url, secret, say
        # One a workspace: what a killed scheduler left is replaced.
        self._name = f"headrace-{hashlib.sha256(str(workspace.root).encode()).hexdigest()[:12]}"
        self._settled = False
        self.registered = False

    def keep(self) -> None:
        """Register it, unless that is done or cannot be; call it again and again. Raises nothing."""
        if self._settled:
            return
        if is_remote() and not servers.is_loopback(server_name()):
            self._give_up(f"the MLflow server {server_name()} cannot reach this machine's loopback")
        elif (server := servers.mlflow_running(self._workspace)) is not None:
            self._register(server)

    def remove(self) -> None:
        """Remove it where it was registered; where that fails, the next one replaces it."""
        if self.registered and (server := servers.mlflow_running(self._workspace)) is not None:
            from registry.store.webhooks import unsubscribe

            with suppress(HeadraceError):
                unsubscribe(server, self._name)

    def _register(self, server: str) -> None:
        from registry.store.webhooks import subscribe

        try:
            subscribe(server, self._name, self._url, self._secret)
        except Outage:
            return  # the next look tries again
        except HeadraceError as fault:
            self._give_up(str(fault))
            return
        self._settled = self.registered = True

    def _give_up(self, why: str) -> None:
        self._settled = True
        self._say(f"no webhook, moves are found by looking: {why}")


@contextmanager
def receiving(workspace: Workspace, wake: Callable[[], None], say: Callable[[str], None]) -> Iterator[Webhook]:
    """Listen on a free port of loopback while the block runs; `wake` is called for each delivery that is MLflow's."""
    secret = secrets.token_urlsafe(32)
    told: set[str] = set()

    def refused(why: str) -> None:
        if why not in told:
            told.add(why)
            say(f"a call of the webhook was refused: {why}")

    with _Server((_HOST, 0), _handler(secret, wake, refused)) as server:
        threading.Thread(target=server.serve_forever, name="webhooks", daemon=True).start()
        webhook = Webhook(workspace, f"http://{_HOST}:{server.server_port}/alias-moved", secret, say)
        try:
            yield webhook
        finally:
            webhook.remove()
            server.shutdown()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A caller that hangs up is none of ours to report."""


def _handler(secret: str, wake: Callable[[], None], refused: Callable[[str], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _SILENCE_S

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdecimal()):
                self._answer(411)
            elif len(length) > _DIGITS or int(length) > _LARGEST:
                self._answer(413)
            elif why := refusal(secret, self.headers, self.rfile.read(int(length)), time.time()):
                refused(why)
                self._answer(401)
            else:
                wake()
                self._answer(204)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """No line a delivery."""

    return Handler
