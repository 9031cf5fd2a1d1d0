"""An HTTP proxy on loopback that drops replies after the server did the work, or delays them, as a seed decides.

Web sockets are passed through as they are.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import SplitResult, urlsplit

import httpx

_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "content-encoding", "date", "server"}


class Proxy(ThreadingHTTPServer):
    """Use as a context manager. done: how many replies were passed, dropped and delayed. fails: answers 500 instead."""

    daemon_threads = True

    def __init__(self, upstream: str, *, drop: float, delay: float, seed: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.client = httpx.Client(base_url=upstream, timeout=60)
        self.drop, self.delay, self.draw, self.fails = drop, delay, random.Random(seed), False
        self.done: Counter[str] = Counter()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass_on(self) -> None:
        proxy = self.server
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self._relay(urlsplit(str(proxy.client.base_url)))
            return
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "accept-encoding")}
        if proxy.fails:
            proxy.done["failed"] += 1
            self.send_error(500)
            return
        try:
            reply = proxy.client.request(self.command, self.path, headers=headers, content=content)
        except httpx.TransportError:  # the server is gone, and so is its answer
            self.close_connection = True
            return
        fate = proxy.draw.random()
        if fate < proxy.drop:
            proxy.done["dropped"] += 1
            self.close_connection = True
            self.connection.close()
            return
        if fate < proxy.drop + proxy.delay:
            proxy.done["delayed"] += 1
            time.sleep(0.2)
        proxy.done["passed"] += 1
        self.send_response(reply.status_code)
        for key, value in reply.headers.items():
            if key.lower() not in _HOP_BY_HOP:
                self.send_header(key, value)
        self.send_header("Content-Length", str(len(reply.content)))
        self.end_headers()
        self.wfile.write(reply.content)

    def _relay(self, upstream: SplitResult) -> None:
        """Bytes both ways, until one side ends."""
        self.close_connection = True
        try:
            other = socket.create_connection((upstream.hostname or "", upstream.port or 80))
        except OSError:
            return
        with closing(other):
            self.headers.replace_header("Host", upstream.netloc)
            head = [self.requestline, *(f"{key}: {value}" for key, value in self.headers.items()), "", ""]
            other.sendall("\r\n".join(head).encode())
            back = threading.Thread(target=_pump, args=(other, self.connection), daemon=True)
            back.start()
            _pump(self.connection, other)
            back.join(5)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def log_message(self, *_: object) -> None: ...


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while content := source.recv(1 << 16):
            target.sendall(content)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
