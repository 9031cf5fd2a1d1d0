"""Connections: how many at once, and how long a request may take to arrive. Around uvicorn's own protocol, which asks
neither.

A request has 10 s to arrive, and a second more for every 32 KiB of it that came: a slow line may send 8 MB in four
minutes, and half a request does not stay. Who takes nothing of an answer for 30 s has gone. Where all connections are
taken, a new one takes the place of the one that has been without a whole request for longest, so that who sends none
keeps nobody out.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from contextlib import suppress
from typing import ClassVar, cast

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.http.problems import NOSNIFF

MOST = 256  # connections; a page needs six, a proxy some tens
ARRIVE_S = 10.0
BYTES_PER_S = 32 * 2**10
TAKE_S = 30.0
AT_ONCE = 8  # accepted before the first of them is looked at: as many as uvicorn's backlog is, which is 2,048
_AT_A_TIME = 16 * 2**10  # bytes taken from a connection before others have their turn: perhaps chunks of a byte each
_QUEUE = 2048  # that the system keeps until then
_HEAD = f"content-type: text/plain; charset=utf-8\r\n{': '.join(NOSNIFF)}\r\nconnection: close\r\n\r\n".encode()

_Protocol = cast(type[H11Protocol], AutoHTTPProtocol)  # or httptools', where that is installed: both have what is used


class Server(uvicorn.Server):
    """uvicorn's, which does not take more connections than it has looked at."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or ():
            each.listen(_QUEUE)


def most() -> int:
    """Connections at once: the other half of the descriptors is for files, engines and logs."""
    return min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


class Connection(_Protocol):  # type: ignore[valid-type, misc]
    arrive_s: ClassVar[float] = ARRIVE_S
    take_s: ClassVar[float] = TAKE_S

    _since = 0.0  # when it began to wait for a request, or for the rest of one
    _bytes = 0  # of it so far
    _arriving: asyncio.TimerHandle | None = None
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        with suppress(AttributeError):  # of a loop that is not asyncio's own
            transport.max_size = _AT_A_TIME  # type: ignore[attr-defined]
        super().connection_made(transport)
        self._await_request()
        open_ones = [each for each in self.connections if not each.transport.is_closing()]
        if len(open_ones) > most():
            self._make_room(open_ones)

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._arriving, self._taking):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._arriving is None:
            self._await_request()
        self._bytes += len(data)
        super().data_received(data)
        if not self._is_waiting and self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def on_response_complete(self) -> None:
        self._since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taking = self.loop.call_later(self.take_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._taking is not None:
            self._taking.cancel()

    def send_400_response(self, msg: str) -> None:
        self._end_with(b"400 Bad Request", msg)

    @property
    def _is_waiting(self) -> bool:
        """Whether it has no request, or not all of one."""
        return self.cycle is None or self.cycle.more_body or self.cycle.response_complete

    def _await_request(self) -> None:
        self._since, self._bytes = self.loop.time(), 0
        self._arriving = self.loop.call_later(self.arrive_s, self._is_late)

    def _is_late(self) -> None:
        left_s = self._since + self.arrive_s + self._bytes / BYTES_PER_S - self.loop.time()
        if left_s > 0:
            self._arriving = self.loop.call_later(left_s, self._is_late)
        else:
            self.transport.abort()

    def _make_room(self, open_ones: list[Connection]) -> None:
        waiting = [each for each in open_ones if each is not self and each._is_waiting]
        if waiting:
            min(waiting, key=lambda each: (each._has_begun, each._since)).transport.abort()
        else:
            self._end_with(b"503 Service Unavailable", "too many connections. Ask again in a second.")

    @property
    def _has_begun(self) -> bool:
        """Whether a request's head is there, and its body is on its way."""
        return self.cycle is not None and not self.cycle.response_complete

    def _end_with(self, status: bytes, why: str) -> None:
        self.transport.write(b"HTTP/1.1 " + status + b"\r\n" + _HEAD + why.encode())
        self.transport.close()
